#include "fusion_option.hpp"

#include <algorithm>

namespace cli {

namespace fb = flashback;

void FusionOption::add(CLI::App& command, const std::string& usual, CLI::Option* needed) {
    const auto added = [&](CLI::Option* option) {
        if (needed != nullptr) option->needs(needed);
        return option;
    };
    fusion_option_ = added(
        command
            .add_option(
                "--fusion", name_,
                "How several passages become one distribution. All in one text: in one pair of markers (concatenate), each in "
                "its own (each), or the best alone (first). In branches, a text for each passage: the mean of their logits "
                "(mean), their probabilities weighted by the scores of the passages at each token (mixture: REPLUG, "
                "RAG-Token), or over all tokens of a stride (sequence: RAG-Sequence). contrast: what the passages change, "
                "amplified (context-aware decoding). By default " +
                    usual)
            ->check(CLI::IsMember({"concatenate", "each", "first", "mean", "mixture", "sequence", "contrast"})));
    alpha_option_ =
        added(command.add_option("--alpha", alpha_, "With --fusion contrast: (1 + A) logits with passages - A without")
                  ->check(number_from(0, 100))
                  ->capture_default_str());
    temperature_option_ =
        added(command
                  .add_option("--score-temperature", temperature_,
                              "With --fusion mixture or sequence: what scores are divided by before their softmax; "
                              "those of BM25 are far apart")
                  ->check(number_from(1e-3, 1e6))
                  ->capture_default_str());
}

void FusionOption::check(const std::string& layout, const char* one_text) const {
    const auto refuse = [](const CLI::Option& option, const std::string& needs, const std::string& found) {
        if (option.count() > 0) throw CLI::ValidationError(option.get_name() + " needs " + needs + ", found " + found);
    };
    if (layout.empty() || layout == "none") refuse(*fusion_option_, "passages", "--layout none");
    const std::string found = name_.empty() ? "none" : "--fusion " + name_;
    const bool branches = name_ == "mean" || name_ == "mixture" || name_ == "sequence" || name_ == "contrast";
    if (one_text != nullptr && branches)
        throw CLI::ValidationError(std::string{one_text} + " needs passages in one text, found " + found);
    if (name_ != "contrast") refuse(*alpha_option_, "--fusion contrast", found);
    if (name_ != "mixture" && name_ != "sequence") refuse(*temperature_option_, "--fusion mixture or sequence", found);
}

std::string FusionOption::name(bool joined) const {
    if (!name_.empty()) return name_;
    return joined ? "concatenate" : "each";
}

fb::AnyFusion FusionOption::fusion(bool joined) const {
    const std::string chosen = name(joined);
    if (chosen == "first") return fb::AnyFusion{fb::FirstPassage{}};
    if (chosen == "mean") return fb::AnyFusion{fb::MeanOfLogits{}};
    if (chosen == "mixture") return fb::AnyFusion{fb::WeightedMixture{temperature_}};
    if (chosen == "sequence") return fb::AnyFusion{fb::RagSequence{temperature_}};
    if (chosen == "contrast") return fb::AnyFusion{fb::ContrastWithout{alpha_, joined}};
    if (chosen == "concatenate") return fb::AnyFusion{fb::ConcatenateJoined{}};
    return fb::AnyFusion{fb::Concatenate{}};
}

std::size_t FusionOption::in_one_text(std::size_t passages) const {
    const bool alone = name_ == "first" || name_ == "mean" || name_ == "mixture" || name_ == "sequence";
    return alone ? std::min<std::size_t>(passages, 1) : passages;
}

void FusionOption::describe(bool joined, const std::vector<fb::TokenCounts>& branches, Json& json) const {
    json["fusion"] = name(joined);
    if (name_ == "contrast") json["alpha"] = alpha_;
    if (name_ == "mixture" || name_ == "sequence") json["score_temperature"] = temperature_;
    Json all = Json::array();
    for (const fb::TokenCounts& branch : branches)
        all.push_back({{"requested", branch.requested}, {"evaluated", branch.evaluated}, {"reused", branch.reused}});
    json["branches"] = all;
}

std::string branches_line(const std::vector<fb::TokenCounts>& branches) {
    std::string line;
    for (const fb::TokenCounts& branch : branches) line += (line.empty() ? "" : ", ") + std::to_string(branch.evaluated);
    if (line.empty()) return line;
    return "  " + std::to_string(branches.size()) + " branches, which evaluated " + line + " beside what they share\n";
}

}  // namespace cli
