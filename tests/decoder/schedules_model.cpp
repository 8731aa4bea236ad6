// Every schedule that has a name, from end to end on the default model: it ends, counts right, and gives the same tokens whatever is
// reused, however many threads work, after a fork in the middle, and beside others.
#include "documents.hpp"
#include "flashback/core/thread_pool.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/decoder/decoder_group.hpp"
#include "flashback/decoder/speculative_decoder.hpp"
#include "flashback/files/load.hpp"
#include "flashback/model/session.hpp"
#include "flashback/policy/any_method.hpp"
#include "flashback/policy/parse_schedule.hpp"
#include "flashback/policy/policies.hpp"
#include "flashback/retrieval/bm25.hpp"
#include "flashback/retrieval/seen_passages.hpp"
#include "flashback/retrieval/tokenizer_codec.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

namespace test_decoder_schedules_model {

using namespace flashback;

namespace {

constexpr std::array names{"never",
                           "once",
                           "stride:8",
                           "entropy:2.0",
                           "surprisal:4",
                           "margin:0.1",
                           "entropy-z:1.5",
                           "surprisal-z:1.5",
                           "margin-z:1",
                           "backoff:4",
                           "budget(8,stride:4)",
                           "sentence",
                           "flare",
                           "dragin",
                           "etc:1.0",
                           "ircot",
                           "any(stride:32,entropy:4)",
                           "all(stride:8,surprisal:2)",
                           "at-most(3,stride:4)"};
constexpr std::array queries{"last:32", "sentence", "masked", "attention:25"};

/// The default model and an index, made once.
struct World {
    World()
        : file(GgufFile::open(FLASHBACK_TEST_MODEL)),
          tokenizer(load_tokenizer(file)),
          model(load_model(file)),
          index(flashback_examples::a_few_documents(), codec_of(tokenizer)),
          prompt(tokenizer.encode("An operating system is the program that controls a computer. A compiler is")) {}

    AnyMethod method(const std::string& name, const std::string& query = "") const {
        return parse_method(name, query, [this](TokenId token) { return tokenizer.decode(token); });
    }
    auto policies(const std::string& name, const std::string& query = "") const {
        return Policies{}
            .layout(PassagesAside{})
            .sampler(TruncatedSampling{{.temperature = 0.8f, .top_p = 0.95f, .seed = 11}})
            .method(method(name, query));
    }
    GenerateOptions options() const { return {.max_tokens = 60, .ignore_eos = true}; }

    GgufFile file;
    Tokenizer tokenizer;
    std::shared_ptr<const Transformer> model;
    Bm25Index index;
    std::vector<TokenId> prompt;
};

const World& world() {
    static const World world;
    return world;
}

std::vector<std::size_t> places_of(const Generation& generation) {
    std::vector<std::size_t> places;
    for (const Retrieval& retrieval : generation.retrievals) places.push_back(retrieval.at);
    return places;
}

void require_same(const Generation& a, const Generation& b) {
    REQUIRE(a.tokens == b.tokens);
    REQUIRE(a.stop == b.stop);
    REQUIRE(places_of(a) == places_of(b));
    REQUIRE(a.stats.rewound == b.stats.rewound);
}

template <class P>
Generation generate(const P& policies, SessionOptions options = {}) {
    Session session{world().model, options};
    Decoder decoder{session, world().index, policies};
    return decoder.generate(world().prompt, world().options());
}

/// Answers what a generator needs next, over a session.
template <class G>
void answer(G& generator, Session& session) {
    const Need need = generator.need();
    switch (need.kind) {
        case Need::Kind::search: generator.found(world().index.retrieve(need.query, need.passages)); break;
        case Need::Kind::truncate:
            session.truncate(need.length);
            generator.truncated(session.size());
            break;
        case Need::Kind::evaluate: {
            const auto logits = session.evaluate(need.tokens);
            const auto read = [&session](std::size_t layer) { return session.attention(layer); };
            generator.evaluated(logits, session.size(), {session.layers(), read});
            // The generator asks for attention before the next answer: its policies are asked in `resume`.
            while (generator.need().kind == Need::Kind::token) generator.resume();
            break;
        }
        case Need::Kind::see: generator.seen(see_passages(session, need.beside, need.length)); break;
        default: generator.resume();
    }
}

}  // namespace

TEST_CASE("schedules by name: they end, count right, and depend on nothing but the seed") {
    ThreadPool pool{3};
    for (const char* name : names) {
        CAPTURE(std::string{name});
        const auto policies = world().policies(name);
        const Generation plain = generate(policies);
        CHECK(plain.tokens.size() <= world().options().max_tokens);
        CHECK(plain.stats.counts.evaluated + plain.stats.counts.reused == plain.stats.counts.requested);
        CHECK(plain.retrievals.size() == plain.stats.retrievals);
        CHECK(plain.stop != StopReason::max_rewinds);
        require_same(plain, generate(policies, {.executor = pool}));
        // A budget counts what was evaluated, which depends on what is reused.
        if (!std::string_view{name}.starts_with("budget")) require_same(plain, generate(policies.reuse(RecomputeAll{})));

        Session session{world().model};
        Decoder decoder{session, world().index, policies};
        decoder.generate(world().prompt, world().options());
        require_same(plain, decoder.generate(world().prompt, world().options()));  // reset() starts afresh
    }
}

TEST_CASE("queries by name go with every schedule") {
    for (const char* name : {"stride:8", "entropy:2.0", "flare"}) {
        for (const char* query : queries) {
            CAPTURE(std::string{name});
            CAPTURE(std::string{query});
            const Generation plain = generate(world().policies(name, query));
            REQUIRE(!plain.retrievals.empty());
            CHECK(plain.retrievals.back().query_tokens.size() + plain.retrievals.back().query_text.size() > 0);
        }
    }
}

TEST_CASE("a generator that is copied in the middle, where it searches, and its copy come to the same text") {
    for (const char* name : names) {
        CAPTURE(std::string{name});
        Session session{world().model};
        const auto policies = world().policies(name);
        Generator generator{policies};
        generator.start(world().prompt, world().options(),
                        {.vocab_size = session.vocab_size(),
                         .window = session.window(),
                         .head = session.head(),
                         .is_end = {},
                         .holds_blocks = true});
        using Copy = decltype(generator);
        std::optional<Copy> copy;
        std::optional<Session> fork;
        while (generator.need().kind != Need::Kind::done) {
            if (generator.need().kind == Need::Kind::search && !copy && generator.result().tokens.size() > 10) {
                copy.emplace(generator);
                fork.emplace(session.fork());
            }
            answer(generator, session);
        }
        const Generation one = generator.take();
        require_same(one, generate(policies));
        if (!copy) continue;
        while (copy->need().kind != Need::Kind::done) answer(*copy, *fork);
        require_same(one, copy->take());
    }
}

TEST_CASE("with guesses instead of waiting, every schedule comes to the same text") {
    const auto shared_tokens = [](const Query& query, const Passage& passage) {
        float shared = 0;
        for (const TokenId token : query.tokens) shared += std::ranges::count(passage.tokens, token) > 0;
        return shared;
    };
    std::size_t guesses = 0;
    for (const char* name : names) {
        for (const bool aside : {true, false}) {
            CAPTURE(std::string{name});
            CAPTURE(aside);
            const auto layout = aside ? AnyLayout{PassagesAside{}} : AnyLayout{PrependPassages{}};
            const auto policies = world().policies(name).layout(layout);
            Session session{world().model};
            SeenPassages seen{std::cref(world().index), shared_tokens};
            SpeculativeDecoder decoder{session, seen, policies, {.stride = 3}};
            const Generation guessed = decoder.generate(world().prompt, world().options());
            require_same(guessed, generate(policies));
            guesses += guessed.stats.speculation.speculated;
        }
    }
    CHECK(guesses > 20);
}

TEST_CASE("texts with several schedules share passes, and each is what it is alone") {
    std::vector<std::unique_ptr<Session>> sessions;
    DecoderGroup<Session> group;
    for (const char* name : names) {
        sessions.push_back(std::make_unique<Session>(world().model));
        group.add(*sessions.back(), world().index, world().policies(name), world().prompt, world().options());
    }
    group.run();
    for (std::size_t i = 0; i < names.size(); ++i) {
        CAPTURE(std::string{names[i]});
        require_same(group.result(i), generate(world().policies(names[i])));
    }
}

}  // namespace test_decoder_schedules_model
