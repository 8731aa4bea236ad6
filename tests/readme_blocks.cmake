# Each block of C++ in README.md and the guides stands, but for its indentation, in one of the programs of examples/; and README.md
# stays short.
#
# cmake -DROOT=... -P readme_blocks.cmake
cmake_minimum_required(VERSION 3.25)

# The text of a file without the blanks that lines start with.
function(read_without_indentation path result)
  file(READ "${path}" text)
  string(REGEX REPLACE "\n +" "\n" text "\n${text}")
  set(${result} "${text}" PARENT_SCOPE)
endfunction()

file(GLOB programs "${ROOT}/examples/*.cpp" "${ROOT}/examples/*.hpp")
set(all "")
foreach(program IN LISTS programs)
  read_without_indentation("${program}" text)
  string(APPEND all "${text}")
endforeach()

# Looks for the blocks of a page, of which there must be so many at least.
function(check_blocks page fewest)
  read_without_indentation("${ROOT}/${page}" rest)
  set(blocks 0)
  while(TRUE)
    string(FIND "${rest}" "\n```cpp\n" begin)
    if(begin EQUAL -1)
      break()
    endif()
    math(EXPR begin "${begin} + 7")  # the line break before the first line stays
    string(SUBSTRING "${rest}" ${begin} -1 rest)
    string(FIND "${rest}" "\n```\n" end)
    string(SUBSTRING "${rest}" 0 ${end} block)
    string(SUBSTRING "${rest}" ${end} -1 rest)
    string(FIND "${all}" "${block}\n" found)
    if(found EQUAL -1)
      message(SEND_ERROR "${page} has a block that no program of examples/ has:${block}")
    endif()
    math(EXPR blocks "${blocks} + 1")
  endwhile()
  if(blocks LESS fewest)
    message(SEND_ERROR "${page} has ${blocks} blocks of C++, expected at least ${fewest}")
  endif()
  message(STATUS "${blocks} blocks of ${page} stand in the programs of examples/")
endfunction()

check_blocks(README.md 4)           # a decoder, a policy, a combination, a foreign runtime
check_blocks(examples/README.md 8)  # one for each kind of policy
check_blocks(examples/passages_aside.md 1)
check_blocks(examples/dropping_into_a_runtime.md 8)
check_blocks(examples/the_idea.md 1)
check_blocks(examples/retrievers.md 4)
check_blocks(examples/branches.md 6)
check_blocks(examples/fine_tuning.md 1)
check_blocks(benchmarks/measuring_reuse.md 2)
check_blocks(include/flashback/first_success.md 3)  # one for each user
check_blocks(include/flashback/files_and_formats.md 2)

set(most_words 1800)
file(READ "${ROOT}/README.md" text)
string(REGEX REPLACE "[][;]" "," text "${text}")  # what CMake reads as lists
string(REGEX MATCHALL "[^ \t\n]+" words "${text}")
list(LENGTH words count)
if(count GREATER most_words)
  message(SEND_ERROR "README.md has ${count} words, expected at most ${most_words}: the rest belongs beside what it explains")
endif()
message(STATUS "README.md has ${count} words")
