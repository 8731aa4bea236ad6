#include "fuzz/seeds.hpp"

#include "flashback/files/save_gguf_adapter.hpp"
#include "fuzz/adapter_model.hpp"
#include "support/gguf_bytes.hpp"
#include "support/random_adapter.hpp"
#include "support/temporary_folder.hpp"

#include <limits>

using namespace flashback;
using flashback_test::GgufBytes;

namespace {

std::string written_adapter(const flashback_test::RandomAdapter& how) {
    const flashback_test::TemporaryFolder folder;
    const std::filesystem::path path = folder.path() / "adapter.gguf";
    const auto model = flashback_test::adapter_model();
    save_gguf_adapter(flashback_test::random_adapter(model->config, how), *model, path);
    return flashback_test::bytes_of_file(path);
}

GgufBytes adapter_file() {
    GgufBytes w;
    w.set("general.type", "adapter").set("general.architecture", "llama").set("adapter.type", "lora");
    return w.set("adapter.lora.alpha", 2.0f);
}

GgufBytes& add_pair(GgufBytes& w, const std::string& name, std::uint64_t outputs, float value = 0.5f) {
    w.add_tensor<float>(name + ".lora_a", {32, 1}, DType::f32, std::vector<float>(32, value));
    return w.add_tensor<float>(name + ".lora_b", {1, outputs}, DType::f32, std::vector<float>(outputs, value));
}

}  // namespace

FLASHBACK_FUZZ_SEEDS(gguf_adapter) {
    const auto add = [&](const char* name, const GgufBytes& file) { seeds.push_back({name, file.bytes()}); };
    seeds.push_back({"pairs", written_adapter({.rank = 1})});
    seeds.push_back({"pairs_and_rows", written_adapter({.modules = {LinearModule::q}, .rank = 1, .ids = {1, 3}})});
    GgufBytes w = adapter_file();
    add("nothing", w);
    add("one_pair", add_pair(w, "blk.0.ffn_up.weight", 32));
    w.erase("adapter.lora.alpha");
    add("no_alpha", w);
    w.set("adapter.lora.alpha", std::numeric_limits<float>::infinity());
    add("alpha_is_no_number", w);
    for (const char* key : {"general.type", "adapter.type", "general.architecture"}) {
        w = adapter_file();
        w.erase(key);
        add((std::string{"without_"} + key).c_str(), w);
        add((std::string{"another_"} + key).c_str(), w.set(key, "\xff"));
    }
    w = adapter_file();
    add("task", w.set("adapter.alora.invocation_tokens", "1"));
    w = adapter_file();
    w.add_tensor<float>("blk.0.ffn_up.weight.lora_a", {32, 1}, DType::f32, std::vector<float>(32, 1));
    add("half_a_pair", w);
    w = adapter_file();
    add("another_shape", add_pair(w, "blk.0.ffn_up.weight", 31));
    w = adapter_file();
    add("no_place", add_pair(w, "blk.1.ffn_up.weight", 32));
    w = adapter_file();
    add("no_number", add_pair(w, "blk.0.ffn_up.weight", 32, std::numeric_limits<float>::quiet_NaN()));
    w = adapter_file();
    w.tensors.push_back(
        {"blk.0.ffn_up.weight.lora_a", {32, 1}, static_cast<std::uint32_t>(DType::q8_0), std::string(34, '\1')});
    w.add_tensor<float>("blk.0.ffn_up.weight.lora_b", {1, 32}, DType::f32, std::vector<float>(32, 1));
    add("blocks", w);
    w = adapter_file();
    w.tensors.push_back({"blk.0.ffn_up.weight.lora_a", {32, 1}, 3, std::string(20, '\1')});
    w.add_tensor<float>("blk.0.ffn_up.weight.lora_b", {1, 32}, DType::f32, std::vector<float>(32, 1));
    add("blocks_of_q4_1", w);
    w = adapter_file();
    w.add_tensor<float>("blk.0.ffn_up.weight.lora_a", {32, 1, 2}, DType::f32, std::vector<float>(64, 1));
    w.add_tensor<float>("blk.0.ffn_up.weight.lora_b", {1, 32}, DType::f32, std::vector<float>(32, 1));
    add("three_dimensions", w);
    w = adapter_file();
    w.add_tensor<float>("token_embd.weight.lora_a", {1, 5}, DType::f32, {0, 1, 0, 2, 0});
    w.add_tensor<float>("token_embd.weight.lora_b", {1, 32}, DType::f32, std::vector<float>(32, 1));
    add("rows", w);
    w = adapter_file();
    w.add_tensor<float>("token_embd.weight.lora_a", {1, 5}, DType::f32, {0, 1e30f, 0, 2, 0});
    w.add_tensor<float>("token_embd.weight.lora_b", {1, 32}, DType::f32, std::vector<float>(32, 1e30f));
    add("rows_overflow", w);
    w = adapter_file();
    w.erase("adapter.lora.alpha");
    w.set("adapter.lora.alpha", 1e300);
    add("alpha_overflows", add_pair(w, "blk.0.ffn_up.weight", 32));
}
