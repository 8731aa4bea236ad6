#include "common.hpp"
#include "flashback/core/error.hpp"
#include "flashback/files/load.hpp"
#include "flashback/text/unicode.hpp"

#include <iostream>
#include <memory>

namespace cli {
namespace {

struct TokenizeOptions {
    std::string model;
    TextOption text;
    std::vector<flashback::TokenId> decode;
    bool bos = false;
    bool json = false;
};

void encode(const TokenizeOptions& options, const flashback::Tokenizer& tokenizer) {
    std::vector<flashback::TokenId> tokens;
    if (options.bos) {
        const auto bos = tokenizer.vocabulary().bos;
        if (!bos) FLASHBACK_THROW(flashback::ErrorCode::vocabulary, "--bos: the vocabulary names no BOS token");
        tokens.push_back(*bos);
    }
    flashback::append(tokens, tokenizer.encode(options.text.read()));
    if (!options.json) {
        std::cout << joined(tokens) << '\n';
        return;
    }
    Json pieces = Json::array();
    for (const flashback::TokenId token : tokens) pieces.push_back(tokenizer.piece(token));
    print({{"tokens", tokens}, {"pieces", pieces}});
}

void decode(const TokenizeOptions& options, const flashback::Tokenizer& tokenizer) {
    const std::string text = tokenizer.decode_whole(options.decode);
    if (options.json) {
        print({{"tokens", options.decode}, {"text", text}});
    } else {
        std::cout << flashback::harmless(text, "\n\t") << '\n';
    }
}

}  // namespace

void add_tokenize(CLI::App& app, Command& run) {
    auto options = std::make_shared<TokenizeOptions>();
    CLI::App& command = *app.add_subcommand("tokenize", "Show the tokens of a text, or the text of tokens");
    add_model(command, options->model);
    options->text.add(command, "text", "The text to tokenise");
    command.add_option("--decode", options->decode, "Tokens to turn into text")
        ->delimiter(',')
        ->transform(token_number())
        ->type_name("ID,ID,...");
    command.add_flag("--bos", options->bos, "Put BOS in front");
    add_json(command, options->json);
    command.footer(
        "Example:\n  flashback tokenize --text 'A compiler is a program'\n  flashback tokenize --decode 324,2882,305,262,801");
    command.callback([options, &run, &command] {
        const bool decoding = command.count("--decode") > 0;
        if (decoding == options->text.given()) throw CLI::ValidationError("tokenize needs either --text or --decode");
        run = [options, decoding] {
            const auto tokenizer = flashback::load_tokenizer(open_model(options->model));
            decoding ? decode(*options, tokenizer) : encode(*options, tokenizer);
        };
    });
}

}  // namespace cli
