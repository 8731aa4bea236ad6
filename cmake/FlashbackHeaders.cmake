# The headers of the library, by target: flashback_policy_headers (the floors that need the standard library only),
# flashback_retrieval_headers (text, retrieval, and the files that an index is kept in) and flashback_other_headers. A new header is found at
# the next configure.
file(GLOB_RECURSE flashback_policy_headers CONFIGURE_DEPENDS
     include/flashback/fwd.hpp include/flashback/policy.hpp include/flashback/core/*.hpp include/flashback/testing/*.hpp include/flashback/policy/*.hpp include/flashback/decoder/*.hpp)
list(FILTER flashback_policy_headers EXCLUDE REGEX "/testing/plain/")  # plain loops, with the types of simd
file(GLOB_RECURSE flashback_retrieval_headers CONFIGURE_DEPENDS
     include/flashback/text/*.hpp include/flashback/retrieval/*.hpp include/flashback/format/atomic_file.hpp include/flashback/format/byte_reader.hpp
     include/flashback/format/folder.hpp include/flashback/format/mapped_file.hpp)
file(GLOB_RECURSE flashback_other_headers CONFIGURE_DEPENDS include/flashback/*.hpp)
list(REMOVE_ITEM flashback_other_headers ${flashback_policy_headers} ${flashback_retrieval_headers})
