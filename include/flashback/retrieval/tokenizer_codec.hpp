/// \file A Tokenizer as a Codec.
#pragma once

#include "flashback/retrieval/codec.hpp"
#include "flashback/text/tokenizer.hpp"

namespace flashback::inline FLASHBACK_ISA {

/// A codec that shares the state of a tokenizer. Its head is `passage_head()`; its fingerprint is a hash of the vocabulary.
/// Cost      reads the vocabulary once
Codec codec_of(const Tokenizer& tokenizer);

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/retrieval/detail/tokenizer_codec.hpp"
#endif
