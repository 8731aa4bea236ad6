/// \file A method of one's own that looks at the model: a schedule and a query that share a memory. And schedules chosen by name.
#include "documents.hpp"
#include "flashback/flashback.hpp"
#include "models/default_model.hpp"

#include <algorithm>
#include <cstddef>
#include <exception>
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
        beaten.resize(step.generated() - 1);  // it may have missed the token at which another schedule went on at the end
        beaten.push_back(step.rank() == 0);
        if (step.since_retrieval < 8) return fb::Decision::go_on();
        return std::count(beaten.end() - 8, beaten.end(), false) >= 4;
    }
    fb::TokenBuffer query(const fb::StepView& step) {
        if (step.generated() == 0) return {step.context.begin(), step.context.end()};
        fb::TokenBuffer tokens;
        for (std::size_t i = beaten.size() - std::min<std::size_t>(beaten.size(), 32); i < beaten.size(); ++i)
            if (!beaten[i]) tokens.push_back(step.context[step.prompt_tokens + i]);
        return tokens;
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
