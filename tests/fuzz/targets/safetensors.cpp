#include "fuzz/target.hpp"

#include "flashback/format/safetensors.hpp"

using namespace flashback;
using flashback_test::fuzz_check;
using flashback_test::touch;

FLASHBACK_FUZZ_TARGET(safetensors, .per_byte = 96, .constant = 16384) {
    const SafetensorsFile file = SafetensorsFile::view(bytes, "fuzz.safetensors");
    std::size_t data = 0;
    for (const SafeTensor& tensor : file.tensors()) {
        fuzz_check(file.tensor(tensor.name) == &tensor, "each tensor is found by its name");
        fuzz_check(data == 0 || tensor.data.data() + tensor.data.size() <= bytes.data() + bytes.size(),
                   "tensors lie in the file");
        touch(tensor.data);
        touch(tensor.dtype);
        data += tensor.data.size();
    }
    std::uint64_t header = 0;
    std::memcpy(&header, bytes.data(), sizeof header);
    fuzz_check(data + sizeof header + header == bytes.size(), "the data are behind the header, all of them and once");
    for (const auto& [name, text] : file.metadata()) touch(text);
}
