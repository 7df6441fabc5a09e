# The edges: the interfaces of base on the kernel and on RocksDB. Only programs link them.
add_library(base_uring STATIC uring_loop.c uring_watch.c uring_disk.c uring_disk_place.c uring_net.c)
target_link_libraries(base_uring PUBLIC base PRIVATE PkgConfig::URING)

add_library(base_rocksdb STATIC kv_rocksdb.c)
target_link_libraries(base_rocksdb PUBLIC base PRIVATE rocksdb)

unit_test(kv sim base_rocksdb)
unit_test(kv_crash sim base_rocksdb)
unit_test(uring_loop base_uring)
unit_test(uring_disk base_uring)
unit_test(uring_net base_uring)

# The thread sanitizer and the test framework's forks don't go together, so this one is a plain program.
if(TRILITH_TESTS)
  add_executable(tsan_loop ${CMAKE_SOURCE_DIR}/tests/unit/tsan_loop.c)
  target_link_libraries(tsan_loop PRIVATE base_uring)
  add_test(NAME tsan_loop COMMAND tsan_loop)
  set_tests_properties(tsan_loop PROPERTIES LABELS unit TIMEOUT 300)
endif()
