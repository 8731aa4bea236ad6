#include "weights_option.hpp"

#include "flashback/files/weights_cache.hpp"

namespace cli {

namespace fb = flashback;

void WeightsOption::add(CLI::App& command) {
    CLI::Option* cache =
        command
            .add_option("--weights-cache", file_,
                        "Keep the repacked weights of the GGUF file in FILE, or in MODEL.weights if FILE is `beside`: the next "
                        "start maps them, and repacks nothing. It is written anew if it is not of this model")
            ->type_name("FILE");
    command.add_flag("--verify-weights-cache", verify_, "Read all of both files, and compare what they have with checksums")
        ->needs(cache);
}

std::string WeightsOption::path_of_cache(const std::string& model) const {
    return file_ == "beside" ? fb::weights_cache_beside(model).string() : file_;
}

void WeightsOption::tell(FilesOfCommand& files, const std::string& model) const {
    files.reads("--weights-cache", path_of_cache(model));
}

fb::LoadOptions WeightsOption::options(const fb::ModelSource& model, fb::ExecutorRef executor) const {
    return {.executor = executor, .weights_cache = path_of_cache(model.name()), .verify_cache = verify_};
}

}  // namespace cli
