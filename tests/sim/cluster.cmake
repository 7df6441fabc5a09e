# The whole cluster in one process: the product's own parts on the simulated edges. After node and meta in the build order.
add_library(sim_cluster STATIC
  sim/sim_chance.c sim/sim_client.c sim/sim_cluster.c sim/sim_meta.c sim/sim_node.c sim/sim_operator.c sim/sim_request.c
  sim/sim_secrets.c sim/sim_vault.c)
target_link_libraries(sim_cluster PUBLIC node_s3 node_core meta_core sim)

unit_test(sim_cluster sim_cluster)

# The promises: a reference model of what the cluster was told and said, and the checkers that hold the cluster to it.
add_library(sim_checks STATIC EXCLUDE_FROM_ALL
  sim/model.c sim/model_chunks.c sim/model_writes.c sim/model_commands.c sim/reading.c sim/residue.c sim/meta_view.c
  sim/leaf_book.c sim/vault_view.c sim/checkers.c
  sim/checks_durability.c sim/checks_store.c sim/checks_keys.c sim/checks_erasure.c sim/checks_certificates.c
  sim/checks_grace.c sim/checks_placement.c sim/checks_meta.c sim/checks_vault.c sim/checks_liveness.c)
target_link_libraries(sim_checks PUBLIC sim_cluster)

add_executable(trilith-sim
  sim/main.c sim/nemesis.c sim/nemesis_acts.c sim/pool.c sim/run.c sim/shrink.c sim/sim_options.c sim/totals.c)
target_link_libraries(trilith-sim PRIVATE sim_checks)
target_link_options(trilith-sim PRIVATE -Wl,--wrap=chunk_store_get -Wl,--wrap=chunk_host_put) # checks_store.c, checks_meta.c

unit_test(model sim_checks)
unit_test(sim_vault sim_checks)
