#include "default_model.hpp"

// An array of 11 MB would take a compiler minutes; the assembler copies the file.
asm(".pushsection .rodata\n"
    ".balign 64\n"
    ".globl flashback_default_model_begin\n"
    "flashback_default_model_begin:\n"
    ".incbin \"" FLASHBACK_DEFAULT_MODEL
    "\"\n"
    ".globl flashback_default_model_end\n"
    "flashback_default_model_end:\n"
    ".popsection\n");

extern "C" const std::byte flashback_default_model_begin[];
extern "C" const std::byte flashback_default_model_end[];

namespace flashback_examples {

std::span<const std::byte> default_model() { return {flashback_default_model_begin, flashback_default_model_end}; }

}  // namespace flashback_examples
