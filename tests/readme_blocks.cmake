# Each block of C++ in examples/README.md stands, but for its indentation, in one of the programs beside it.
#
# cmake -DEXAMPLES=.../examples -P readme_blocks.cmake
cmake_minimum_required(VERSION 3.25)

# The text of a file without the blanks that lines start with.
function(read_without_indentation path result)
  file(READ "${path}" text)
  string(REGEX REPLACE "\n +" "\n" text "\n${text}")
  set(${result} "${text}" PARENT_SCOPE)
endfunction()

file(GLOB programs "${EXAMPLES}/*.cpp")
set(all "")
foreach(program IN LISTS programs)
  read_without_indentation("${program}" text)
  string(APPEND all "${text}")
endforeach()

read_without_indentation("${EXAMPLES}/README.md" rest)
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
    message(SEND_ERROR "examples/README.md has a block that no program of examples/ has:${block}")
  endif()
  math(EXPR blocks "${blocks} + 1")
endwhile()
if(blocks LESS 8)
  message(SEND_ERROR "examples/README.md has ${blocks} blocks of C++, expected one for each kind of policy at least")
endif()
message(STATUS "${blocks} blocks of examples/README.md stand in its programs")
