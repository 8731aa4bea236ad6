#include "flashback/format/safetensors_folder.hpp"
#include "support/errors.hpp"
#include "support/safetensors_bytes.hpp"
#include "support/temporary_folder.hpp"

#include <string>
#include <string_view>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

namespace test_format_safetensors_folder {

using namespace flashback;
using flashback_test::check_error;
using flashback_test::TemporaryFolder;
using flashback_test::write_safetensors;

namespace {

constexpr const char* index_file = "model.safetensors.index.json";

/// "a" and "b" in one shard, "c" in another, and the index.
struct Sharded {
    Sharded() {
        write_safetensors(folder.path() / "one.safetensors", {{"a", {2}, {1, 2}}, {"b", {1}, {3}}});
        write_safetensors(folder.path() / "two.safetensors", {{"c", {2}, {4, 5}}});
        map = {{"a", "one.safetensors"}, {"b", "one.safetensors"}, {"c", "two.safetensors"}};
    }
    SafetensorsFolder open() const {
        folder.write(index_file, nlohmann::json{{"metadata", {{"total_size", 20}}}, {"weight_map", map}}.dump());
        return SafetensorsFolder::open(folder.path());
    }
    void refused(ErrorCode code, std::string_view part) const {
        check_error(code, part, [&] { open(); });
    }

    TemporaryFolder folder;
    nlohmann::json map;
};

}  // namespace

TEST_CASE("the tensors of a folder are those of one file, or of all shards") {
    const Sharded sharded;
    const SafetensorsFolder folder = sharded.open();
    CHECK(folder.tensors().size() == 3);
    REQUIRE(folder.tensor("c"));
    CHECK(folder.tensor("c")->data.size() == 8);
    REQUIRE(folder.tensor("a"));
    CHECK(*reinterpret_cast<const float*>(folder.tensor("a")->data.data()) == 1);
    CHECK_FALSE(folder.tensor("d"));

    write_safetensors(sharded.folder.path() / "model.safetensors", {{"d", {1}, {6}}});
    const SafetensorsFolder single = SafetensorsFolder::open(sharded.folder.path());
    CHECK(single.tensors().size() == 1);
    CHECK(single.tensor("d"));
}

TEST_CASE("a folder without weights is refused") {
    const TemporaryFolder folder;
    const auto open = [&] { SafetensorsFolder::open(folder.path()); };
    check_error(ErrorCode::io, "has no weights: neither model.safetensors nor model.safetensors.index.json", open);
    folder.write("pytorch_model.bin", "x");
    check_error(ErrorCode::io, "(pytorch_model.bin is not read)", open);
}

TEST_CASE("a shard is a file of the same folder") {
    for (const char* name : {"../../etc/passwd", "/etc/passwd", "../one.safetensors", "x/../one.safetensors",
                             "..\\one.safetensors", "", "..", ".safetensors", "one.bin"}) {
        Sharded sharded;
        sharded.map["a"] = name;
        sharded.refused(ErrorCode::format,
                        std::string{"names the shard '"} + name + "' for a, expected a .safetensors file of the same folder");
    }
    Sharded sharded;
    sharded.map["a"] = std::string("one\0.safetensors", 16);
    sharded.refused(ErrorCode::format, "names the shard 'one?.safetensors' for a");
    sharded.map["a"] = 7;
    sharded.refused(ErrorCode::format, "has 7 for a, expected the name of a file");
}

TEST_CASE("the index and the shards must agree") {
    Sharded missing;
    missing.map["c"] = "three.safetensors";
    missing.refused(ErrorCode::io, "lists the shard three.safetensors, which is absent");

    Sharded twice;
    write_safetensors(twice.folder.path() / "two.safetensors", {{"c", {2}, {4, 5}}, {"a", {2}, {1, 2}}});
    twice.refused(ErrorCode::format, "lists one.safetensors and two.safetensors, which both have the tensor a");

    Sharded elsewhere;
    elsewhere.map["b"] = "two.safetensors";
    elsewhere.refused(ErrorCode::format, "lists the tensor b in two.safetensors, but it is in one.safetensors");

    Sharded unlisted;
    unlisted.map.erase("b");
    unlisted.refused(ErrorCode::format, "does not list the tensor b, which one.safetensors has");

    Sharded absent;
    absent.map["d"] = "two.safetensors";
    absent.refused(ErrorCode::format, "lists the tensor d, which two.safetensors does not have");

    Sharded damaged;
    damaged.folder.write("two.safetensors", "x");
    damaged.refused(ErrorCode::format, "two.safetensors' ends too early");
}

TEST_CASE("an index that is none is refused") {
    const Sharded sharded;
    const auto refused = [&](std::string_view part, const std::string& text) {
        sharded.folder.write(index_file, text);
        check_error(ErrorCode::format, part, [&] { SafetensorsFolder::open(sharded.folder.path()); });
    };
    refused("is no JSON at byte", "{");
    refused("lacks the field weight_map", "{}");
    refused("has [] for weight_map, expected an object", R"({"weight_map": []})");
    refused("lists no tensors", R"({"weight_map": {}})");
    refused("has the field a twice", R"({"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}})");
    refused("has lists in lists, more than 16 deep", R"({"weight_map": )" + std::string(100'000, '['));
}

}  // namespace test_format_safetensors_folder
