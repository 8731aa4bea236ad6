/// \file A method of one's own that looks at the model: a schedule and a query that share a memory. And schedules chosen by name.
#include "documents.hpp"
#include "flashback/flashback.hpp"
#include "models/default_model.hpp"

#include <algorithm>
#include <cstddef>
#include <exception>
#include <functional>
#include <iostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace fb = flashback;

namespace {

/// Retrieves when the text goes its own way: half of its newest 8 tokens were not what the model thought likeliest. Asks for those.
struct OffTheBeatenPath {
    std::vector<bool> beaten;  // for each generated token: whether it was the likeliest

    void reset() { beaten.clear(); }  // a generation starts

    fb::Decision schedule(const fb::StepView& step) {
        if (step.generated() == 0) return fb::Decision::retrieve();  // before the first token there is nothing to look at
        beaten.resize(step.generated() - 1,
                      true);  // tokens that were taken back go; one that it was not asked about counts as likely
        beaten.push_back(step.rank() == 0);
        if (step.since_retrieval < 8) return fb::Decision::go_on();
        return std::count(beaten.end() - 8, beaten.end(), false) >= 4;
    }
    fb::TokenBuffer query(const fb::StepView& step) {
        const fb::TokenSpan text = step.kept();  // without what another schedule takes back
        fb::TokenBuffer tokens;
        for (std::size_t i = std::max(step.prompt_tokens, text.size() - std::min<std::size_t>(text.size(), 32));
             i < text.size(); ++i)
            if (!beaten[i - step.prompt_tokens]) tokens.push_back(text[i]);
        if (tokens.empty()) fb::append(tokens, text);
        return tokens;
    }
};

/// Retrieves when the model reads less than a tenth of its last layer's attention in the prompt: it has lost the question.
struct LostTheQuestion {
    static bool wants_attention() { return true; }

    bool operator()(const fb::StepView& step) const {
        if (step.attention == nullptr) return step.retrievals == 0;  // before the first token
        if (step.since_retrieval < 16) return false;
        const fb::AttentionWeights read = step.attention->weights(step.attention->layers - 1);
        double prompt = 0;  // mean over heads; BOS and passages have their part of the sum of 1, too
        for (const std::size_t place : step.attention->places.first(step.prompt_tokens)) {
            if (place == fb::StepAttention::nowhere) continue;  // dropped because the window was full
            for (std::size_t head = 0; head < read.heads; ++head)
                prompt += read.head(head)[place] / static_cast<double>(read.heads);
        }
        return prompt < 0.1;
    }
};

void check(bool holds, const char* what) {
    if (!holds) throw std::runtime_error(what);
}

class Program {
public:
    explicit Program(const fb::GgufFile& file)
        : tokenizer_(fb::load_tokenizer(file)),
          session_(fb::load_model(file)),
          index_(flashback_examples::a_few_documents(), fb::codec_of(tokenizer_)) {}

    template <class Method>
    void run(std::string_view name, Method method) {
        const auto policies = fb::Policies{}
                                  .layout(fb::PassagesAside{})
                                  .sampler(fb::TruncatedSampling{{.temperature = 0.8f, .top_p = 0.95f, .seed = 7}})
                                  .method(std::move(method));
        fb::Decoder decoder{session_, index_, policies};
        const auto prompt = tokenizer_.encode("A compiler is a program that");
        const auto first = decoder.generate(prompt, {.max_tokens = 96, .ignore_eos = true});
        const auto second = decoder.generate(prompt, {.max_tokens = 96, .ignore_eos = true});
        check(first.tokens == second.tokens, "reset() starts a generation afresh: the same seed must give the same tokens");
        check(first.tokens.size() == 96, "the text must have 96 tokens");
        std::cout << name << ": " << first.retrievals.size() << " retrievals, " << first.stats.rewound << " tokens taken back, "
                  << first.stats.counts.evaluated << " tokens evaluated\n";
    }

    /// The same text, whose searches are guessed from passages that were seen, and checked several at a time.
    void run_with_guesses() {
        const auto prompt = tokenizer_.encode("A compiler is a program that");
        const fb::GenerateOptions options{.max_tokens = 96, .ignore_eos = true};
        const auto policies = fb::Policies{}.schedule(fb::EveryNTokens{8}).layout(fb::PassagesAside{});
        fb::Decoder plain{session_, index_, policies};
        const auto expected = plain.generate(prompt, options);

        // What is guessed is the passage with most tokens of the query; BM25's own score would be the best guess.
        const auto shared_tokens = [](const fb::Query& query, const fb::Passage& passage) {
            return static_cast<float>(std::ranges::count_if(query.tokens, [&](fb::TokenId token) {
                return std::ranges::find(passage.tokens, token) != passage.tokens.end();
            }));
        };
        fb::SeenPassages seen{std::cref(index_), shared_tokens};
        fb::SpeculativeDecoder decoder{session_, seen, policies};
        const auto guessed = decoder.generate(prompt, options);
        check(guessed.tokens == expected.tokens, "guesses must not change the text");
        std::cout << "guesses: " << guessed.stats.speculation.matched << " of " << guessed.stats.speculation.speculated
                  << " were right\n";
    }

    const fb::Tokenizer& tokenizer() const { return tokenizer_; }

private:
    fb::Tokenizer tokenizer_;
    fb::Session session_;
    fb::Bm25Index index_;
};

void compare() {
    Program program{fb::GgufFile::view(flashback_examples::default_model(), "the default model")};
    program.run("OffTheBeatenPath", OffTheBeatenPath{});

    // By name, as the tool does for --schedule and --query.
    const auto text_of = [&](fb::TokenId token) { return program.tokenizer().decode(token); };
    for (const char* name : {"stride:16", "any(stride:64,entropy:3)", "at-most(4,sentence)", "flare", "dragin"}) {
        program.run(name, fb::parse_method(name, "", text_of));
    }

    // A schedule of one's own beside one by name.
    const auto both = fb::any_of(LostTheQuestion{}, fb::parse_schedule("sentence", text_of));
    program.run("LostTheQuestion, or sentence", fb::AnyMethod{fb::AnySchedule{both}, fb::AnyQuery{fb::LastNTokens{32}}});
    program.run_with_guesses();
}

}  // namespace

int main() try {
    compare();
    std::cout << "as expected\n";
    return 0;
} catch (const std::exception& error) {
    std::cerr << "13_schedules: " << error.what() << '\n';
    return 1;
}
