# Each relative link of the pages leads to a file or a folder that is there.
#
# cmake -DROOT=... [-DPAGES="PAGE;..."] -P links.cmake     pages below ROOT; by default those for readers of the repository
cmake_minimum_required(VERSION 3.25)

set(pages README.md CONTRIBUTING.md CHANGELOG.md benchmarks/README.md benchmarks/measuring_reuse.md examples/README.md examples/passages_aside.md
    examples/the_idea.md examples/schedules.md examples/retrievers.md examples/branches.md examples/fine_tuning.md examples/cli/README.md
    include/flashback/first_success.md include/flashback/promises.md include/flashback/files_and_formats.md
    examples/models/README.md examples/paper_table/README.md examples/paper_table/results.md include/flashback/README.md)
if(DEFINED PAGES)
  set(pages ${PAGES})
endif()

set(links 0)
foreach(page IN LISTS pages)
  file(READ "${ROOT}/${page}" text)
  string(REGEX REPLACE "```[^`]*```" "" text "${text}")  # lambdas are no links
  string(REPLACE "](" " @link " text "${text}")
  string(REGEX REPLACE "[][;]" " " text "${text}")  # what CMake reads as lists
  string(REGEX MATCHALL " @link [^)# \n]+" found "${text}")
  cmake_path(GET page PARENT_PATH folder)
  foreach(link IN LISTS found)
    string(REPLACE " @link " "" link "${link}")
    if(link MATCHES "^[a-z]+:")
      continue()
    endif()
    if(NOT EXISTS "${ROOT}/${folder}/${link}")
      message(SEND_ERROR "${page} links to ${link}, which is not there")
    endif()
    math(EXPR links "${links} + 1")
  endforeach()
endforeach()
if(links LESS 1)
  message(SEND_ERROR "found no relative link in ${pages}")
endif()
message(STATUS "${links} links lead somewhere")
