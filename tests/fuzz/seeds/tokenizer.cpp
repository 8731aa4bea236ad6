#include "fuzz/seeds.hpp"

#include <initializer_list>

FLASHBACK_FUZZ_SEEDS(tokenizer) {
    const auto add = [&](const char* name, const std::string& text) {
        for (const char vocabulary : {'0', '1', '2', '3', '4', '5'})
            seeds.push_back({std::string{name} + vocabulary, vocabulary + text});
    };
    add("empty", "");
    add("words", "The cat isn't  the\n\n\tCAT'S 123456 3.14 -- x\xc3\xa4y \xe4\xb8\xad\xe6\x96\x87 \xf0\x9f\x98\x80!");
    add("marks", "<mark><mark><mark> <s></s><0x41><unk>");
    add("spaces", "   the     the\xe2\x96\x81the \xc2\xa0 \r\n \n");
    add("no_utf8", "\xff\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80\xc3");
    add("nul", std::string{"a\0b", 3});
    add("one_letter", std::string(2000, 't'));
    add("long_word", std::string(500, 't') + std::string(500, 'h'));
    add("digits", std::string(100, '1') + std::string(100, '2'));
    add("long_s", "it'\xc5\xbf \xc5\xbf'S DON'T we'LL");
}
