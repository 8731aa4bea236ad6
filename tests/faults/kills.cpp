// Files that belong together, and a program that is killed while it replaces them.
#include "flashback/files/load_adapter.hpp"
#include "flashback/files/save_adapter.hpp"
#include "flashback/format/peft.hpp"
#include "flashback/model/adapter.hpp"
#include "flashback/model/fingerprint.hpp"
#include "support/killed_at.hpp"
#include "support/random_adapter.hpp"
#include "support/random_model.hpp"
#include "support/temporary_folder.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

#include <doctest/doctest.h>

using namespace flashback;

TEST_CASE("faults: an adapter whose saving is killed is the old one, the new one, or refused by name") {
    const auto model = flashback_test::random_model(
        {.layers = 1, .width = 8, .heads = 2, .kv_heads = 1, .head_dim = 4, .hidden = 8, .vocab = 20, .window = 64});
    // Other numbers and other settings: what mixes the two files would load, and be neither.
    const Adapter before = flashback_test::random_adapter(model->config, {.ids = {3, 4}, .seed = 1});
    const Adapter after = flashback_test::random_adapter(model->config, {.scale = 4, .ids = {5, 6}, .seed = 2});
    std::size_t old = 0, replaced = 0, refused = 0;
    for (std::size_t n = 1;; ++n) {
        CAPTURE(n);
        const flashback_test::TemporaryFolder folder;
        save_adapter(before, model->config, folder.path());
        const bool killed = flashback_test::killed_at(n, [&] { save_adapter(after, model->config, folder.path()); });
        try {
            const std::uint64_t found = fingerprint(load_adapter(folder.path(), *model));
            old += found == fingerprint(before);
            replaced += found == fingerprint(after);
            CHECK((found == fingerprint(before) || found == fingerprint(after)));
        } catch (const Error& error) {
            ++refused;
            CHECK(error.code() == ErrorCode::io);
            CHECK(std::string{error.what()}.find(peft_config_file) != std::string::npos);
        }
        // What a killed run leaves behind stands in nobody's way.
        save_adapter(after, model->config, folder.path());
        CHECK(fingerprint(load_adapter(folder.path(), *model)) == fingerprint(after));
        if (!killed) break;
    }
    CHECK(old > 0);
    CHECK(refused > 0);
    CHECK(replaced > 0);
}
