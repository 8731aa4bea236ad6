#include "fuzz/seeds.hpp"

#include <initializer_list>

FLASHBACK_FUZZ_SEEDS(corpus) {
    const auto add = [&](const char* name, const std::string& text) {
        for (const char way : {'0', '1'}) seeds.push_back({std::string{name} + way, way + text});
    };
    add("pyserini", "{\"id\":\"a\",\"contents\":\"Title\\ntext \\u00e4\"}\n\n{\"id\":7,\"contents\":\"\",\"title\":\"t\"}\n");
    add("beir", "\xef\xbb\xbf{\"_id\":\"a\",\"title\":\"\",\"text\":\"x\",\"metadata\":{}}\r\n{\"_id\":\"b\",\"text\":\"y\"}");
    add("twice", "{\"_id\":\"\\u001b\\u00e4\",\"text\":\"x\"}\n{\"_id\":\"\\u001b\\u00e4\",\"text\":\"y\"}");
    add("no_document", "{\"id\":\"a\"}");
    add("id_no_text", "{\"id\":[1],\"contents\":\"\"}");
    add("text_no_text", "{\"_id\":-1,\"text\":null}");
    add("no_json", "{\"id\":\"a\"\n");
    add("second_line_no_object", "{\"id\":\"a\",\"contents\":\"\"}\n[1]\n");
    add("lone_surrogate", "{\"id\":\"a\",\"contents\":\"\\ud800\"}");
    add("deep", "{\"id\":" + std::string(500, '['));
    add("array", "[ {\"id\":\"a\",\"contents\":\"[{\\\"]\"},\n{\"_id\":7,\"text\":\"\",\"more\":[{}]} ]\n");
    add("array_of_nothing", " [ ] ");
    add("array_without_end", "[{\"id\":\"a\",\"contents\":\"\\");
    add("array_and_more", "[{\"id\":\"a\",\"contents\":\"\"}],");
    add("dictd",
        "Title one\n\n   A line that was\n   broken {reference} here\n\n    - a list\n    - more { x } {y\n\nSecond\n  body\n");
    add("wikitext", " \n = First = \n \n Some text 3 @-@ D . \n = = Section = = \n \n = Second = \n \n More . \n");
    add("plain", "Just a text\nof two lines.");
    add("blank", " \t\n\r\n");
    add("empty", "");
    add("nul", std::string{"a\0b", 3});
    add("compressed", "\x1f\x8b\x08");
    add("no_utf8", "Title \xff\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80 end\xc3");
    add("cr", "a\rb\r\nc\r");
}
