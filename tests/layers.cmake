# layers.cmake - fails on an #include against the layers, and on functions that have no place here.
#
#   programs   main.c of node, meta, cluster, bench   wire the parts; the only code that names an edge
#   logic      node -> scrub      meta                they meet in proto
#   shared     proto -> base
#   edges      base/uring_*, base/kv_rocksdb          the only code that names liburing and RocksDB
#              meta/kms_pkcs11*                       the only code that names PKCS#11 and loads a library
#
# Run as a script: cmake -DROOT=<checkout> -P tests/layers.cmake. Prints "ok layers/RULE" or "FAILED layers/RULE: why".
cmake_minimum_required(VERSION 3.25)
file(GLOB_RECURSE sources RELATIVE ${ROOT}
     ${ROOT}/base/*.[ch] ${ROOT}/proto/*.[ch] ${ROOT}/node/*.[ch] ${ROOT}/meta/*.[ch] ${ROOT}/scrub/*.[ch]
     ${ROOT}/cluster/*.[ch] ${ROOT}/bench/*.[ch] ${ROOT}/tests/*.[ch])
list(SORT sources)

# Every line "file<TAB>included file".
set(includes "")
foreach(source IN LISTS sources)
  file(STRINGS ${ROOT}/${source} lines REGEX "^[ \t]*#[ \t]*include[ \t]+[<\"]")
  foreach(line IN LISTS lines)
    if(line MATCHES "include[ \t]+[<\"]([^>\"]+)")
      list(APPEND includes "${source}\t${CMAKE_MATCH_1}")
    endif()
  endforeach()
endforeach()

set(any_failed FALSE)
function(conclude rule problems)
  if(problems STREQUAL "")
    message(NOTICE "ok layers/${rule}")
  else()
    list(JOIN problems ", " text)
    message(NOTICE "FAILED layers/${rule}: ${text}")
    set(any_failed TRUE PARENT_SCOPE)
  endif()
endfunction()

# Files that match FROM may include what matches WHAT only if they match ONLY too.
macro(include_only_in rule what only)
  set(problems "")
  foreach(entry IN LISTS includes)
    string(REGEX MATCH "^([^\t]+)\t(.*)$" ignored "${entry}")
    set(from "${CMAKE_MATCH_1}")
    set(included "${CMAKE_MATCH_2}")
    if(included MATCHES "${what}" AND NOT from MATCHES "${only}")
      list(APPEND problems "${from} includes ${included}")
    endif()
  endforeach()
  conclude(${rule} "${problems}")
endmacro()

# Files under FROM may include, of the project's own headers, only what matches ALLOWED.
set(own "^(base|proto|node|meta|scrub|cluster|bench|tests)/")
macro(folder_may_include folder allowed)
  set(problems "")
  foreach(entry IN LISTS includes)
    string(REGEX MATCH "^([^\t]+)\t(.*)$" ignored "${entry}")
    set(from "${CMAKE_MATCH_1}")
    set(included "${CMAKE_MATCH_2}")
    if(from MATCHES "^${folder}/" AND included MATCHES "${own}" AND NOT included MATCHES "${allowed}")
      list(APPEND problems "${from} includes ${included}")
    endif()
  endforeach()
  string(REPLACE "/" "_" name ${folder})
  conclude(folder_${name} "${problems}")
endmacro()

folder_may_include(base "^base/")
folder_may_include(proto "^(base|proto)/")
folder_may_include(scrub "^(base|proto|scrub)/")
folder_may_include(node "^(base|proto|node|scrub)/")
folder_may_include(node/store "^(base|node/store)/")
folder_may_include(meta "^(base|proto|meta)/")
folder_may_include(cluster "^(base|proto|cluster)/|^meta/evidence_words\\.h|^node/store/inspect\\.h|^node/s3/(sigv4|uri|dates)\\.h")
folder_may_include(bench "^(base|bench)/|^node/s3/(sigv4|uri|dates)\\.h")

include_only_in(liburing "^liburing" "^base/uring_")
include_only_in(rocksdb "^rocksdb/" "^base/kv_rocksdb\\.c$")
include_only_in(microhttpd "^microhttpd\\.h" "^node/s3/http\\.c$")
include_only_in(isal "^isa-l" "^base/(checksum|jws_pack)\\.c$")
# Beside base: the wipe's stream and digest, and the random bytes of a new secret file.
include_only_in(cryptography "^(sodium|gcrypt)\\.h|^gnutls/" "^(base|tests)/")
include_only_in(pkcs11 "^p11-kit/" "^meta/kms_pkcs11_.*\\.h$|^tests/unit/test_kms_pkcs11\\.c$")
include_only_in(pkcs11_module "^dlfcn\\.h" "^meta/kms_pkcs11_token\\.c$|^tests/")
include_only_in(ini "^ini\\.h" "^base/config")
include_only_in(libxml "^libxml/" "^node/s3/xml_|^cluster/s3_listing\\.c$")
# Others have it through base/jws.h.
include_only_in(jansson "^jansson\\.h" "^(cluster|bench)/|^base/jws\\.[ch]$")
include_only_in(curl "^curl/" "^(cluster|bench)/")
include_only_in(criterion "^criterion/" "^tests/unit/")
# The composition roots choose the edges; everybody else sees interfaces.
include_only_in(edges "^base/(uring|kv_rocksdb)\\.h" "(^|/)main\\.c$|^node/reactor\\.[ch]$|^tests/|^cluster/admin\\.c$|^base/(uring_|kv_rocksdb)")

# Calls that are wrong in the product whatever the arguments, outside of comments.
set(banned "strcpy|strcat|sprintf|vsprintf|gets|strtok|system|popen|rand|srand|alloca|atoi|atol|tmpnam|mktemp")
set(problems "")
set(secrets "")
foreach(source IN LISTS sources)
  file(STRINGS ${ROOT}/${source} lines REGEX "(^|[^A-Za-z0-9_])(${banned}|log_event)\\(")
  foreach(line IN LISTS lines)
    if(NOT source MATCHES "^tests/" AND NOT line MATCHES "^[ \t]*(/\\*|\\*|//)" AND line MATCHES "(^|[^A-Za-z0-9_])(${banned})\\(")
      list(APPEND problems "${source}: ${CMAKE_MATCH_2}()")
    endif()
    if(line MATCHES "log_event\\(.*[>. (](secret_key|secret|dek|leaf|passphrase)[^_a-z]" AND NOT source MATCHES "^tests/")
      list(APPEND secrets "${source}: ${line}")
    endif()
  endforeach()
endforeach()
conclude(banned_functions "${problems}")
conclude(secrets_in_logs "${secrets}")

if(any_failed)
  message(FATAL_ERROR "the layers are broken")
endif()
