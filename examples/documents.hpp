/// \file A few documents for the examples, so that they need no file.
#pragma once

#include "flashback/retrieval/corpus.hpp"

#include <vector>

namespace flashback_examples {

inline std::vector<flashback::Document> a_few_documents() {
    return {
        {"compiler", "compiler",
         "compiler. A program that translates source code into machine code. A compiler reads the text of a program, checks "
         "it, "
         "and writes instructions that the processor can execute. An interpreter executes a program without translating it "
         "first."},
        {"linker", "linker",
         "linker. A program that joins the object files that a compiler has written into one executable file. It gives every "
         "function and every variable its address, and reports the symbols that no file defines."},
        {"kernel", "kernel",
         "kernel. The part of an operating system that is always in memory. It schedules processes, manages memory and "
         "handles interrupts; programs ask it for services by system calls."},
        {"cache", "cache",
         "cache. A small, fast memory that holds copies of data that was used recently. When the processor finds the data "
         "there, it need not wait for main memory. A cache line is the unit of transfer."},
        {"virtual-memory", "virtual memory",
         "virtual memory. A system in which each process sees an address space of its own. The memory management unit "
         "translates addresses to pages of physical memory; a page that is not there is read from disk."},
        {"language", "programming language",
         "programming language. A notation for programs. Its grammar says which programs are well formed, its semantics what "
         "they mean. A language may be compiled, interpreted, or both."},
    };
}

}  // namespace flashback_examples
