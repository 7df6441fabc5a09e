/* fuzz_map.c - any bytes as a Map message: refused, or a map that every question can be asked of. */
#include "node/map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Trilith__Map *wire = trilith__map__unpack(NULL, size, data);
    if (wire == NULL) {
        return 0;
    }
    struct map *bare = NULL;
    if (map_decode(wire, &bare) == STATUS_OK) {
        struct map *map = map_with_health(bare, NULL, 0);
        for (uint32_t i = 0; i < map->disk_count; i++) {
            map->disks[i].up = map->disks[i].takes_chunks = true;
            map->disks[i].free_bytes = UINT64_MAX >> 20;
        }
        struct map_choice choice;
        uint32_t disks[REPLICAS];
        if (map_choose_pg(map, NULL, REPLICAS, size * 7919, &choice) == STATUS_OK) {
            CHECK(map_order_replicas(map, choice.pg, 1, NULL, size * 7919, disks) == REPLICAS);
        }
        map_release(map);
        map_release(bare);
    }
    trilith__map__free_unpacked(wire, NULL);
    return 0;
}
