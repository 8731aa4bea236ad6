/// \file Schedules of one's own: a lambda, a struct with a memory, and a combination of both with those of the library.
#include "documents.hpp"
#include "flashback/flashback.hpp"
#include "models/default_model.hpp"

#include <algorithm>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string_view>
#include <vector>

namespace fb = flashback;

namespace {

/// Retrieves whenever the text since the last retrieval has cost the model at least `budget` nats: it is at a loss.
struct OnSurprise {
    double budget;
    double spent = 0;

    void reset() { spent = 0; }  // a generation starts

    bool operator()(const fb::StepView& step) {
        spent += step.surprisal();  // -ln p of the newest token; 0 before the first
        if (step.retrievals > 0 && spent < budget) return false;
        spent = 0;
        return true;
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

    /// Generates with a schedule and prints when it retrieved: the number of new tokens before each retrieval.
    template <class Schedule>
    fb::Generation run(std::string_view name, const Schedule& schedule) {
        const auto sampler = fb::TruncatedSampling{{.temperature = 0.8f, .top_p = 0.95f, .seed = 7}};
        fb::Decoder decoder{session_, index_, fb::Policies{}.schedule(schedule).sampler(sampler)};
        const auto prompt = tokenizer_.encode("A compiler is a program that");
        auto first = decoder.generate(prompt, {.max_tokens = 96, .ignore_eos = true});
        const auto second = decoder.generate(prompt, {.max_tokens = 96, .ignore_eos = true});
        check(first.tokens == second.tokens, "reset() starts a generation afresh: the same seed must give the same tokens");

        std::cout << name << " retrieved before token";
        for (const fb::Retrieval& retrieval : first.retrievals) std::cout << ' ' << retrieval.at;
        std::cout << '\n';
        return first;
    }

    const fb::Tokenizer& tokenizer() const { return tokenizer_; }

private:
    fb::Tokenizer tokenizer_;
    fb::Session session_;
    fb::Bm25Index index_;
};

void compare_schedules() {
    Program program{fb::GgufFile::view(flashback_examples::default_model(), "the default model")};
    const fb::Tokenizer& tokenizer = program.tokenizer();

    // A lambda. It is asked before every token; the newest token of the text is the one that was taken last.
    const auto at_sentence_end = [&](const fb::StepView& step) { return tokenizer.decode(step.last_token()).ends_with('.'); };
    const auto sentences = program.run("at_sentence_end", at_sentence_end);
    for (const fb::Retrieval& retrieval : sentences.retrievals) {
        check(retrieval.at == 0 || tokenizer.decode(sentences.tokens[retrieval.at - 1]).ends_with('.'),
              "a retrieval does not follow the end of a sentence");
    }

    // A struct with a memory.
    const auto surprises = program.run("OnSurprise", OnSurprise{.budget = 40});
    check(surprises.retrievals.size() > 1 && surprises.retrievals[0].at == 0, "the text cost less than 40 nats");

    // A combination: each of the three may ask for a passage, but they get five in all.
    const auto combined = fb::at_most(5, fb::any_of(fb::EveryNTokens{32}, at_sentence_end, OnSurprise{.budget = 40}));
    const auto few = program.run("at_most(5, any_of(...))", combined);
    check(few.stats.retrievals <= 5 && few.stats.retrievals >= 3, "96 tokens are three strides of 32, and five is the most");
}

}  // namespace

int main() try {
    compare_schedules();
    std::cout << "as expected\n";
    return 0;
} catch (const std::exception& error) {
    std::cerr << "02_schedule: " << error.what() << '\n';
    return 1;
}
