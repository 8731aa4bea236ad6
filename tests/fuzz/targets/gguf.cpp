#include "fuzz/target.hpp"

#include "flashback/format/gguf.hpp"
#include "flashback/format/gguf_fingerprint.hpp"

using namespace flashback;
using flashback_test::fuzz_check;
using flashback_test::touch;

namespace {

/// Whether a getter takes a value or says in an Error that it is of another type.
template <class Get>
bool takes(const Get& get) {
    try {
        return get().has_value();
    } catch (const Error& error) {
        flashback_test::check_sentence(error);
        return false;
    }
}

void touch_array(const GgufFile& file, std::string_view key, const GgufArray& array) {
    touch(array.bytes);
    if (const auto strings = array.type == GgufType::string ? file.strings(key) : std::nullopt) {
        fuzz_check(strings->size() == array.count, "an array has as many strings as it says");
        for (const std::string_view text : *strings) touch(text);
    }
    const int types = takes([&] { return file.strings(key); }) + takes([&] { return file.numbers<float>(key); }) +
                      takes([&] { return file.numbers<std::int32_t>(key); }) +
                      takes([&] { return file.numbers<std::uint32_t>(key); });
    fuzz_check(types <= 1, "an array is of one type");
}

}  // namespace

FLASHBACK_FUZZ_TARGET(gguf, .per_byte = 64, .constant = 16384) {
    const GgufFile file = GgufFile::view(bytes, "fuzz.gguf");
    fuzz_check(file.raw_metadata().size() == file.metadata().size(), "each entry of the metadata lies in the file");
    for (const auto& [key, value] : file.metadata()) {
        fuzz_check(file.find(key) == &value, "each entry of the metadata is found by its key");
        if (const auto* text = std::get_if<std::string_view>(&value)) touch(*text);
        if (const auto* array = std::get_if<GgufArray>(&value)) touch_array(file, key, *array);
        const int types = takes([&, k = key] { return file.real(k); }) + takes([&, k = key] { return file.boolean(k); }) +
                          takes([&, k = key] { return file.text(k); }) + takes([&, k = key] { return file.array(k); });
        fuzz_check(types + takes([&, k = key] { return file.integer(k); }) <= 1, "a value is of one type");
    }
    for (const auto raw : file.raw_metadata()) touch(raw);
    for (const GgufTensor& tensor : file.tensors()) {
        fuzz_check(file.tensor(tensor.name) == &tensor, "each tensor is found by its name");
        touch(tensor.data);
    }
    fuzz_check(fingerprint_of(file, [](const GgufTensor& tensor) { return fingerprint(tensor); }) == fingerprint(file),
               "a fingerprint is the same whoever hashes the tensors");
}
