/// \file Turns config.json into hyper-parameters.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/files/config_json.hpp"
#include "flashback/format/json_fields.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

/// Fields that change no logit of a trained model: names, training, generation, and what is read elsewhere.
inline constexpr std::array harmless_config_fields{"_attn_implementation",
                                                   "_name_or_path",
                                                   "activation_dropout",
                                                   "architectures",
                                                   "attention_dropout",
                                                   "attention_probs_dropout_prob",
                                                   "attn_implementation",
                                                   "attn_pdrop",
                                                   "bos_token_id",
                                                   "classifier_dropout",
                                                   "directionality",
                                                   "do_sample",
                                                   "dropout",
                                                   "dtype",
                                                   "embd_pdrop",
                                                   "gradient_checkpointing",
                                                   "hidden_dropout_prob",
                                                   "id2label",
                                                   "init_std",
                                                   "initializer_range",
                                                   "label2id",
                                                   "layer_norm_eps",
                                                   "layerdrop",
                                                   "length_penalty",
                                                   "max_length",
                                                   "max_window_layers",
                                                   "model_type",
                                                   "n_ctx",
                                                   "name_or_path",
                                                   "num_beam_groups",
                                                   "num_beams",
                                                   "num_return_sequences",
                                                   "pad_token_id",
                                                   "pooler_fc_size",
                                                   "pooler_num_attention_heads",
                                                   "pooler_num_fc_layers",
                                                   "pooler_size_per_head",
                                                   "pooler_type",
                                                   "prefix",
                                                   "pretraining_tp",
                                                   "problem_type",
                                                   "repetition_penalty",
                                                   "resid_pdrop",
                                                   "return_dict",
                                                   "summary_activation",
                                                   "summary_first_dropout",
                                                   "summary_proj_to_labels",
                                                   "summary_type",
                                                   "summary_use_proj",
                                                   "task_specific_params",
                                                   "temperature",
                                                   "top_k",
                                                   "top_p",
                                                   "torch_dtype",
                                                   "transformers_version",
                                                   "unk_token_id",
                                                   "unsloth_fixed",
                                                   "unsloth_version",
                                                   "use_cache"};

/// The fields of one config.json, read into hyper-parameters.
class ConfigJson {
public:
    ConfigJson(const JsonTree& json, const std::string& file) : f_(json, file) {}

    ModelConfig read() {
        const std::string type = f_.text("model_type").value_or("");
        c_ = choices_of(family_of(type));
        c_.name = f_.text("_name_or_path").value_or("");
        c_.vocab = required("vocab_size");
        switch (c_.family) {
            case Family::llama:
            case Family::mistral:
            case Family::qwen2: read_llama(); break;
            case Family::gpt2: read_gpt2(); break;
            case Family::opt: read_opt(); break;
            case Family::bert: read_bert(); break;
        }
        read_ends();
        f_.others([&](const std::string& name, const JsonTree& value) {
            if (std::ranges::find(harmless_config_fields, name) != harmless_config_fields.end()) return;
            f_.unsupported("has ", shown(value), " for ", printable(name),
                           ", which may change the arithmetic and is not implemented");
        });
        return std::move(m_);
    }

private:
    Family family_of(const std::string& type) const {
        if (type == "llama") return Family::llama;
        if (type == "mistral") return Family::mistral;
        if (type == "qwen2") return Family::qwen2;
        if (type == "gpt2") return Family::gpt2;
        if (type == "opt") return Family::opt;
        if (type == "bert" || type == "dpr") return Family::bert;
        f_.unsupported("has the model_type '", printable(type), "', expected llama, mistral, qwen2, gpt2, opt, bert or dpr");
    }

    std::size_t required(const char* field) const { return f_.count_of(field, f_.at(field)); }

    float epsilon(const char* field, double absent) const {
        const double value = f_.number(field).value_or(absent);
        if (!(value >= 0)) f_.refuse_value(field, *f_.find(field), "a number from 0");
        return static_cast<float>(value);
    }
    double positive(const JsonFields& fields, const char* field) const {
        const auto value = fields.number(field);
        if (!value) fields.refuse("lacks the field ", field);
        if (!(*value > 0)) fields.refuse_value(field, *fields.find(field), "a number above 0");
        return *value;
    }
    /// Refuses a field that is there and is not `value`.
    void only(const char* field, const JsonTree& value) const {
        if (const JsonTree* found = f_.find(field); found && found->text() != value.text())
            f_.unsupported_value(field, *found, shown(value));
    }
    void activation(const char* field, std::initializer_list<std::string_view> names) const {
        const std::string name = f_.text(field).value_or(std::string{*names.begin()});
        if (std::ranges::find(names, name) == names.end())
            f_.unsupported("has '", printable(name), "' for ", field, ", expected '", *names.begin(), '\'');
    }
    /// Sets head_dim; `field` names the width.
    void divide_heads(const char* field) {
        if (c_.width % c_.heads != 0)
            f_.refuse("has ", c_.width, " for ", field, ", expected a multiple of its ", c_.heads, " heads");
        c_.head_dim = c_.width / c_.heads;
    }

    void read_llama() {
        c_.width = required("hidden_size");
        c_.layers = required("num_hidden_layers");
        c_.heads = required("num_attention_heads");
        c_.hidden = required("intermediate_size");
        c_.window = required("max_position_embeddings");
        c_.kv_heads =
            c_.family == Family::llama ? f_.count("num_key_value_heads").value_or(c_.heads) : required("num_key_value_heads");
        if (c_.heads % c_.kv_heads != 0)
            f_.refuse("has ", c_.kv_heads, " for num_key_value_heads, expected a divisor of its ", c_.heads, " heads");
        if (const auto head_dim = f_.count("head_dim")) {
            c_.head_dim = *head_dim;
        } else {
            divide_heads("hidden_size");
        }
        constexpr std::size_t most = 65536;
        if (c_.head_dim % 2 != 0 || c_.head_dim > most)
            f_.refuse("has heads of ", c_.head_dim, " elements, expected an even number up to ", most);
        c_.rotary_dim = c_.head_dim;
        c_.norm_epsilon = epsilon("rms_norm_eps", 1e-6);
        activation("hidden_act", {"silu", "swish"});
        m_.tied = f_.flag("tie_word_embeddings").value_or(false);
        only("attention_bias", false);
        only("mlp_bias", false);
        if (f_.number("partial_rotary_factor").value_or(1) != 1) only("partial_rotary_factor", 1.0);
        read_rotary();
        read_sliding_window();
    }

    void read_rotary() {
        const bool newer = f_.object("rope_parameters").has_value();  // since transformers 5
        const char* field = newer ? "rope_parameters" : "rope_scaling";
        const auto scaling = f_.object(field);
        if (f_.find("rope_theta")) {
            c_.rotary_base = positive(f_, "rope_theta");
        } else if (newer && scaling->find("rope_theta")) {
            c_.rotary_base = positive(*scaling, "rope_theta");
        }
        if (!scaling) return;
        const std::string old_name = scaling->text("type").value_or("default");
        const std::string kind = scaling->text("rope_type").value_or(old_name);
        if (kind == "linear") {
            c_.rotary_linear = positive(*scaling, "factor");
        } else if (kind == "llama3") {
            Llama3Scaling s{positive(*scaling, "factor"), positive(*scaling, "low_freq_factor"),
                            positive(*scaling, "high_freq_factor"), positive(*scaling, "original_max_position_embeddings")};
            if (!(s.low_frequency_factor < s.high_frequency_factor))
                scaling->refuse("has a low_freq_factor that is not below its high_freq_factor");
            c_.rotary_factors = llama3_rotary_factors(c_.rotary_base, c_.rotary_dim, s);
        } else if (kind != "default") {
            scaling->unsupported("has the kind '", printable(kind), "', expected default, linear or llama3");
        }
        scaling->others([&](const std::string& name, const JsonTree& value) {
            const bool rotates_all = name == "partial_rotary_factor" && value.is_number() && value.number() == 1;
            if (!rotates_all)
                scaling->unsupported("has ", shown(value), " for ", printable(name), ", which is not implemented");
        });
    }

    void read_sliding_window() {
        const auto sliding = f_.count("sliding_window");
        // In Qwen2 it counts only if this field says so.
        const bool used = f_.flag("use_sliding_window").value_or(c_.family != Family::qwen2);
        if (used && sliding && *sliding < c_.window) {
            f_.unsupported("has a sliding_window of ", *sliding, ", expected none that is smaller than the ", c_.window,
                           " positions of max_position_embeddings; with that many at most, the model is exact");
        }
        if (const JsonTree::Array* types = f_.list("layer_types")) {
            for (const JsonTree& type : *types) {
                const std::string kind = type.is_string() ? type.as<std::string>() : "";
                if (kind != "full_attention" && !(used && kind == "sliding_attention"))
                    f_.unsupported("has ", shown(type), " in layer_types, expected full_attention");
            }
        }
    }

    void read_gpt2() {
        c_.width = required("n_embd");
        c_.layers = required("n_layer");
        c_.heads = c_.kv_heads = required("n_head");
        c_.hidden = f_.count("n_inner").value_or(4 * c_.width);
        c_.window = required("n_positions");
        divide_heads("n_embd");
        c_.norm_epsilon = epsilon("layer_norm_epsilon", 1e-5);
        activation("activation_function", {"gelu_new", "gelu_pytorch_tanh"});
        m_.tied = f_.flag("tie_word_embeddings").value_or(true);
        only("scale_attn_weights", true);
        only("scale_attn_by_inverse_layer_idx", false);
        only("reorder_and_upcast_attn", false);
    }

    void read_opt() {
        c_.width = required("hidden_size");
        c_.layers = required("num_hidden_layers");
        c_.heads = c_.kv_heads = required("num_attention_heads");
        c_.hidden = required("ffn_dim");
        c_.window = required("max_position_embeddings");
        const std::size_t word_width = f_.count("word_embed_proj_dim").value_or(c_.width);
        c_.embedding_width = word_width == c_.width ? 0 : word_width;
        divide_heads("hidden_size");
        c_.norm_epsilon = 1e-5f;  // PyTorch's default, which OPT always uses
        c_.post_norm = !f_.flag("do_layer_norm_before").value_or(true);
        c_.final_norm = !c_.post_norm && !f_.flag("_remove_final_layer_norm").value_or(false);
        activation("activation_function", {"relu"});
        m_.tied = f_.flag("tie_word_embeddings").value_or(true);
        only("layer_norm_elementwise_affine", true);
        c_.qkv_bias = c_.output_bias = c_.ffn_bias = f_.flag("enable_bias").value_or(true);
    }

    void read_bert() {
        c_.width = required("hidden_size");
        c_.layers = required("num_hidden_layers");
        c_.heads = c_.kv_heads = required("num_attention_heads");
        c_.hidden = required("intermediate_size");
        c_.window = required("max_position_embeddings");
        c_.token_types = f_.count("type_vocab_size").value_or(2);
        divide_heads("hidden_size");
        c_.norm_epsilon = epsilon("layer_norm_eps", 1e-12);
        activation("hidden_act", {"gelu", "gelu_new", "gelu_pytorch_tanh", "relu"});
        const std::string function = f_.text("hidden_act").value_or("gelu");
        c_.activation = function == "gelu" ? Activation::gelu : function == "relu" ? Activation::relu : Activation::gelu_tanh;
        m_.tied = true;  // it has no head that would be read
        f_.flag("tie_word_embeddings");
        only("position_embedding_type", "absolute");
        only("is_decoder", false);
        only("add_cross_attention", false);
        only("projection_dim", std::uint64_t{0});
    }

    void read_ends() {
        m_.ends = f_.tokens("eos_token_id");
        for (const TokenId token : m_.ends) {
            if (static_cast<std::size_t>(token) >= c_.vocab)
                f_.refuse("has ", token, " for eos_token_id, but ", c_.vocab, " for vocab_size");
        }
    }

    JsonFields f_;
    ModelConfig m_;
    TransformerConfig& c_ = m_.shape;
};

}  // namespace detail

FLASHBACK_DETAIL_ONCE ModelConfig parse_config_json(std::string_view json, const std::string& file) {
    const JsonTree tree = JsonTree::parse(json, file);
    return detail::ConfigJson{tree, file}.read();
}

}  // namespace flashback::inline FLASHBACK_ISA
