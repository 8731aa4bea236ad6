#include "fuzz/seeds.hpp"

FLASHBACK_FUZZ_SEEDS(analyzer) {
    const auto add = [&](const char* name, const std::string& text) {
        for (const char first : {'\x07', '\x5f', '\xff'})
            seeds.push_back({std::string{name} + std::to_string(first), first + text});
    };
    add("ascii", "Title A word, don't x86_64 3.14. Another sentence; and \"more.\" C++ C# c++11\n\nA paragraph.");
    add("accents", "na\u00efve nai\u0308ve \u1e69 s\u0323\u0307 \u212b \u0130 I\u0307");
    add("dense",
        "\u65e5\u672c\u8a9e\u3067\u3059\u3002\u30c7\u30fc\u30bf\u304b\u3099 \u0e01\u0e34\u0e19\u0e02\u0e49\u0e32\u0e27 "
        "\u1780\u17d2\u1781 \u1000\u1039\u1000");
    add("korean", "\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab");
    add("invisible", "co\u00adop\u200d \u200ba\ufe0f\u034f\u0301\u2060++");
    add("no_utf8", "a\xff\xc3\xe4\xb8 b\xf0\x9f");
    add("long", std::string(300, 'a') + std::string(300, '\xcc'));
    add("blank", " \t\n\r");
    add("empty", "");
    add("marks", "=\u0338 \u0301a \u0e34\u0e34#\u0301 c#\u0301");
}
