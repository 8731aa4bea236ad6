#include "fuzz/seeds.hpp"

FLASHBACK_FUZZ_SEEDS(safetensors_index) {
    const auto add = [&](const char* name, const std::string& text) { seeds.push_back({name, text}); };
    add("good",
        R"({"metadata":{"total_size":20},"weight_map":{"a":"one.safetensors","b":"one.safetensors","c":"two.safetensors"}})");
    add("empty", "");
    add("list", "[]");
    add("no_json", R"({"weight_map":)");
    add("no_map", "{}");
    add("map_of_another_kind", R"({"weight_map":[]})");
    add("empty_map", R"({"weight_map":{}})");
    add("no_name", R"({"weight_map":{"a":1}})");
    add("twice", R"({"weight_map":{"a":"one.safetensors","a":"two.safetensors"}})");
    add("deep", R"({"weight_map":{"a":)" + std::string(100, '['));
    for (const char* shard : {"../one.safetensors", "/one.safetensors", "a\\\\one.safetensors", "one.bin", ".safetensors", "",
                              "\\u0000.safetensors", "\\u001b[2J.safetensors", "\xff.safetensors"}) {
        add(("shard_" + std::to_string(seeds.size())).c_str(), std::string{R"({"weight_map":{"\u001b":")"} + shard + R"("}})");
    }
}
