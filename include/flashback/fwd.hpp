/// \file The table of contents: what there is, by floor, and every default.
///
/// A header includes its own folder or a lower floor; neighbours on a floor do not see each other. tests/floors.cmake proves
/// it.
///
///     7  measure | eval | train           run-time test, reuse sweep, reuse trace, model cost, peaks | perplexity | gradients and AdamW
///     6  files | data                     loading and saving models, tokenizers, adapters | strides, passages, examples
///     5  model                            transformer, sessions, adapters, encoders, random weights; nothing about files
///     4  decoder | dense | interop        the generator and the loop: schedule, query, retrieve, plan, evaluate, sample | vectors and their
///                                         search | Xapian, llama.cpp, MPI
///     3  kv | retrieval                   storage of keys and values | documents, passages, BM25 and its files, retrievers around others
///     2  simd | text | format | policy    kernels | tokenizers | GGUF, safetensors, PEFT | token functions
///     1  tensor                           types of elements, block formats, buffers
///     0  core                             tokens, errors, concepts of models and retrievers, executors, ranks, random numbers
///
/// core, policy, decoder and testing need only the standard library. All else is for POSIX systems: files are mapped into
/// memory (mmap), and large buffers ask for huge pages (madvise).
///
/// testing, on floor 1: a model and a retriever that cost nothing. It is not in the umbrella. Its plain loops, which say what
/// the kernels compute, are on floor 3, because they use the types of simd.
#pragma once

#include "flashback/core/config.hpp"

#include <cstdint>
#include <type_traits>

namespace flashback::inline FLASHBACK_ISA {

// core
class Error;
template <class Signature>
class PerArchitecture;
enum class ErrorCode;
struct Query;
struct Passage;
struct OwnedPassage;
class OwnedTokens;  // empty
struct NoPassages;
struct AttentionWeights;
struct ModelAttention;
struct StepAttention;
template <class Signature>
class FunctionRef;
class AnyRetriever;
enum class TokenKind : std::uint8_t;
struct Vocabulary;
struct SerialExecutor;
class ThreadPool;
class ExecutorRef;
class RankLost;
class RanksRef;
class Fingerprint;
class FingerprintParts;
class SplitMix64;

// policy: when to retrieve
struct StepView;
class Decision;
struct Never;
struct Once;
class EveryNTokens;  // 16 tokens
class StaleEveryN;   // 16 tokens
template <class... Schedules>
class AnyOf;
template <class... Schedules>
class AllOf;
template <class Schedule>
class AtMost;
class RunningStatistics;
struct EntropySignal;
struct SurprisalSignal;
struct MarginSignal;
template <class Signal>
class OnSignal;  // 4 tokens apart
template <class Signal>
class OnUnusual;  // warm-up 16 tokens, 4 tokens apart
class Backoff;    // 16 tokens, at most 256
struct CostOfLast;
template <class Schedule, class Cost>
class WithinBudget;  // looks 16 tokens ahead
template <class Detokenize>
class SentenceByPiece;
template <class Rule>
class EverySentence;
class AnySchedule;
struct MethodText;
class AnyMethod;
struct NoText;

// policy: the methods of papers, which say when to retrieve and what to search for
struct FlareOptions;  // theta 0.8, beta 0.4, look-ahead 64 tokens
template <class Sentences>
class Flare;
struct DraginOptions;  // theta 1, 25 words, look-ahead 64 tokens
template <class Sentences, class Counts>
class Dragin;
struct EtcOptions;  // alpha 1.3, 35 words
template <class Counts>
class Etc;
struct IrCotOptions;  // 8 steps
struct NeverAnswers;
template <class Detokenize>
class AnswerPhrase;  // "answer is"
template <class Sentences, class Answers>
class IrCot;
struct ReflectionOptions;  // delta 0.2
template <class Sentences>
class ReflectionRatio;
template <class Router, class... Schedules>
class Routed;
struct EveryToken;
template <class Detokenize>
class ContentWords;

// policy: what to search for
class LastNTokens;  // 32 tokens
template <class Rule>
class LastSentence;  // at most 64 tokens
class MaskedDraft;   // 0.4
template <class Counts>
class AttentionTopN;  // 25 words
template <class Inner>
class WithoutDraft;
class AnyQuery;

// policy: what stands around a passage, and where passages stand
struct NoMarkers;
class MarkerTokens;
class MarkerText;
class AnyWrapper;
struct PrependPassages;
struct AppendPassages;
struct AppendAndRepeat;  // 16 tokens
struct Sticky;
struct AsideOptions;  // seen by the newest token, exact, a block for each passage
class PassagesAside;
struct LayoutParts;
class AnyLayout;

// policy: what of the KV cache is kept, and what is dropped when the window is full
struct KeepCommonPrefix;
struct KeepAndMoveText;
struct RecomputeAll;
class AnyReuse;
struct FullWindow;
struct StopWhenFull;
class DropOldest;     // keeps half
class KeepAndRotate;  // the same
class AttentionSinks;
template <class Then>
class ShortenPassages;
struct Rotation;
class AnyOverflow;

// policy: how a token is taken from logits, and when a text is long enough
struct Greedy;
struct SamplingOptions;  // temperature 1, top_k 0 (all), top_p 1, min_p 0, seed 0: changes nothing
class TruncatedSampling;
struct RepetitionOptions;  // penalty 1.1, window 64
template <class Inner = Greedy>
class RepetitionPenalty;
class AnySampler;
struct NeverStop;
template <class Detokenize>
class StopStrings;
class AnyStopping;
struct PassageGroup;
class LogitRows;
struct FirstPassage;
struct Concatenate;
struct ConcatenateJoined;
struct MeanOfLogits;
class WeightedMixture;
class RagSequence;
class ContrastWithout;
class AnyFusion;

// policy: all of them, and what follows from them
struct NoMethod;
struct OwnedQuery;
enum class StopReason;
struct ContextParts;
struct ContextPlan;
struct CarriedOut;
class PlanScratch;
struct BranchPlan;
struct FusedPlan;
struct HeldBranch;
class GroupedPassages;
class FusedScratch;
template <class Model>
class Branches;
template <class Schedule = EveryNTokens, class QueryFrom = LastNTokens, class Wrapper = NoMarkers,
          class Layout = AppendPassages, class Reuse = KeepCommonPrefix, class Sampling = Greedy,
          class Overflowing = StopWhenFull, class Stopping = NeverStop, class Fusing = Concatenate, class Method = NoMethod>
class Policies;
/// Policies that are all chosen at run time.
using AnyPolicies =
    Policies<AnySchedule, AnyQuery, AnyWrapper, AnyLayout, AnyReuse, AnySampler, AnyOverflow, AnyStopping, AnyFusion>;

namespace presets {}  // flashback(left, right), in_context_ralm(), closed_book(), flare(ends), dragin(ends), ...

// tensor
enum class DType : std::uint32_t;
struct DTypeLayout;
struct BlockQ4_0;
struct BlockQ4_1;
struct BlockQ5_0;
struct BlockQ5_1;
struct BlockQ8_0;
struct BlockQ2_K;
struct BlockQ3_K;
struct BlockQ4_K;
struct BlockQ5_K;
struct BlockQ6_K;
struct K4Scale;
struct KVTile;
template <class T>
    requires std::is_trivially_copyable_v<T>
class AlignedBuffer;

// simd: products, attention, and what works on rows
namespace simd {
class PackedMatrix;
enum class Operand : std::uint8_t;
struct Activations;
struct ActivationBlock;
class ActivationBuffer;
struct PanelRange;
struct MatmulResult;
template <class Element>
struct DotRows;
struct DotResult;
struct GemmRows;
struct GemmPanels;
struct GemmResult;
struct GemmShape;
enum class GemmStart : bool;
class GemmBF16Scratch;
enum class Half : std::uint16_t;
enum class BFloat16 : std::uint16_t;
enum class Int8 : std::int8_t;
struct AttentionParts;
struct AttentionQuery;
struct SeesNoOther;
struct NormGradients;
struct AdamWElements;
struct AdamWFactors;
enum class TileUse : std::uint8_t;
struct Tiles;
}  // namespace simd

// text and format
class Tokenizer;
struct WordPieceVocabulary;  // BERT without capitals
class WordPiece;
class StreamDecoder;
struct CodePoint;
struct ValidText;
class Sentences;
template <class Detokenize>
class SentenceByText;
enum class FileAccess : std::uint8_t;
class MappedFile;
struct FileStamp;
class AtomicFile;
class ByteReader;
enum class GgufType : std::uint32_t;
struct GgufArray;
struct GgufTensor;
class GgufFile;
class GgufWriter;
struct SafeTensor;
class SafetensorsFile;
class SafetensorsFolder;
class SafetensorsWriter;
class JsonTree;
class JsonFields;
struct OptionalJson;
class MadeFolder;
class ModulePattern;
struct PeftConfig;

// kv and retrieval
struct KVShape;
class ContiguousKVCache;
struct KVPagePoolOptions;  // no budget, nothing reserved
struct KVPage;
class KVPagePool;
class PagedKVCache;
struct KVStateKey;
struct PrefixStoreCounts;
class PrefixStore;
struct RestoredTokens;
template <class Cache>
struct BasicKVBlock;
/// A block in a cache of one piece.
using KVBlock = BasicKVBlock<ContiguousKVCache>;
enum class BlockElement : unsigned char;
struct BlockKey;
struct BlockFileHeader;
class BlockFile;
class BlockFileWriter;
struct BlockStoreOptions;  // 256 MiB, as evaluated
struct BlockStoreCounts;
template <class Cache>
class BasicBlockStore;
/// A store of blocks for a Session.
using BlockStore = BasicBlockStore<ContiguousKVCache>;
/// A store of blocks for a PagedSession.
using PagedBlockStore = BasicBlockStore<PagedKVCache>;
struct PositionRange;
class WordAnalyzer;
class AnyAnalyzer;
class EnglishAnalyzer;
struct Codec;
class TokenAnalyzer;
struct Document;
enum class TextForm : std::uint8_t;
struct Corpus;
class Passages;
struct Bm25Formula;       // k1 0.9, b 0.4
struct Bm25Options;       // passages of 128 tokens of words
struct OpenIndexOptions;  // words, mapped, not verified
struct IndexInfo;
class Bm25Index;
struct IndexWriterOptions;  // as Bm25Options; 64 MiB of text at once
class IndexWriter;
struct TrecQrels;
struct ScoredDocument;
struct TrecRun;
struct RankMetrics;
struct RankMetric;
enum class MissingQueries : std::uint8_t;
struct QueryMetrics;
struct RunMetrics;
struct BootstrapOptions;  // 9999 resamples
struct MeanDifference;
struct RunComparison;

// retrieval: retrievers around retrievers
template <class R>
class Accumulated;     // 1 passage at a time
struct CachedOptions;  // 1024 entries, 64 MiB
struct CachedCounts;
template <class R>
class Cached;
template <class R, class Score>
class SeenPassages;  // 1024 passages
template <class R, class Fallback>
class WithTimeout;    // the fallback finds nothing
struct RetryOptions;  // 3 attempts, after 50 ms, 100 ms, ..., at most 10 s
struct IoErrors;
template <class R, class Transient>
class Retry;  // IoErrors
template <class R, class Serves>
class Prefetching;  // for the same query
struct ServesWhatGoesOn;
template <class R>
class Asynchronous;
template <class R, class Keep>
class Filtered;        // asks for 1024 at most
class ReciprocalRank;  // 60
struct MinMaxScores;
struct UnionPartOptions;  // weight 1, 100 passages
template <class R>
class UnionPart;
template <class Rule, class... Rs>
class Union;
struct RetrieverHealth;
template <class R, class Clock>
class Watched;  // std::chrono::steady_clock
struct RerankTarget;
class ScoreNewest;     // 16 tokens
class ScoreFollowing;  // the same
struct RerankOptions;  // 16 passages, all of the text
template <class R, class Model, class Target>
class Reranked;  // ScoreNewest
// interop
struct XapianPassage;
enum class XapianStemming : std::uint8_t;
class XapianIndexer;
enum class DeadShard : std::uint8_t;
struct XapianOptions;  // k1 0.9, b 0.4; 10 s for an answer, 2 s to connect
struct MissingShard;
class XapianRetriever;
struct LlamaCppOptions;  // the sequence 0; a gap of 32; no blocks are kept
struct LlamaCppCounts;
class LlamaCppBlock;
class LlamaCppModel;
class MpiRanks;

// decoder
struct GenerateOptions;  // 128 tokens, 1 passage, at most 1000 rewinds
struct Generation;
struct RetrievedPassage;
struct Retrieval;
struct TokenCounts;
struct Seconds;
struct Speculation;
struct Statistics;
struct ModelFacts;
struct Need;
struct ReadContext;
struct CarriedOutPlan;
template <class Model>
struct Pass;
template <class PoliciesT = Policies<>>
class Generator;
template <class Model, class RetrieverT, class PoliciesT = Policies<>>
class Decoder;
template <class Model>
class DecoderGroup;
struct SpeculationOptions;  // as many guesses as pay
class OptimalStride;        // 5 rounds, at most 0.6, 64 guesses
template <class Model, class RetrieverT, class PoliciesT = Policies<>>
class SpeculativeDecoder;

// dense; hnsw.hpp and whitening.hpp are not in the umbrella
struct VectorOptions;  // f32, not normalised
class VectorStore;
struct DenseHit;
class ExactIndex;
struct HnswOptions;  // 16 links, ef 200 to build and 64 to search, seed 0
class HnswIndex;
struct NoDecode;
template <class EmbedderT, class Index, class Source, class Decode = NoDecode>
class DenseRetriever;
class VectorMap;
template <class EmbedderT>
class MappedEmbedder;
struct WhiteningOptions;  // all dimensions, whitened, at least 1e-6 of the greatest variance

// model
enum class Family : std::uint8_t;
enum class Norm : std::uint8_t;
enum class Positions : std::uint8_t;
enum class Activation : std::uint8_t;
struct TransformerConfig;
struct Llama3Scaling;  // 8, 1, 4, 8192
enum class LinearModule : std::uint8_t;
struct TransformerLayer;
struct Transformer;
enum class TensorRole : std::uint8_t;
struct TensorId;
struct LoraPair;
struct AdapterLayer;
struct Adapter;
struct PackedLora;
class PackedAdapter;
struct AdapterUse;
struct Workspace;
struct ForwardParts;
enum class Stage : std::uint8_t;
struct NoObserver;
struct SessionOptions;  // the window of the model, pieces of 256 tokens, serial, no adapter
template <class Cache>
class BasicSession;
/// The everyday session: keys and values in one block of f32.
using Session = BasicSession<ContiguousKVCache>;
/// Keys and values in pages: its forks cost pointers.
using PagedSession = BasicSession<PagedKVCache>;
struct RestoreOptions;  // all positions
struct SessionBytes;
class PrefixCached;
enum class Pooling : std::uint8_t;
struct Encoder;  // the mean, length 1, texts of up to the window of the model
enum class LongText : std::uint8_t;
struct TextEncoderOptions;  // no prefixes, cuts long texts, pieces of 512 tokens, serial
class TextEncoder;
template <class Cache>
struct SeenPositions;
template <class Cache>
struct PiecePlace;

// files
class ModelSource;
struct ModelConfig;
struct LoadOptions;  // serial, no file of repacked weights
struct WeightsSource;
class WeightsCache;
struct LoadAdapterOptions;  // no tokens beyond the rows of the model
struct SaveAdapterOptions;  // no name of a base, no dropout

// data
struct SourceDocument;
class TextStream;
struct StrideSource;
template <class R, class Forbidden>
class AllowedPassages;
struct FromSource;     // runs of 16 tokens
struct StrideOptions;  // init 512, strides of 16, contexts of 256, 1 passage of 128 tokens
struct RetrievedStride;
class RetrievedStrides;
struct StridePlan;
struct StrideScratch;
struct PlannedStride;
struct StrideLayout;
struct StreamedDocument;
struct PassageRows;
struct TokenRun;
struct TrainingExample;
template <class P>
class RetrievalExamples;
template <class P>
class SharedHistoryExamples;
class PackedText;
struct PartingOptions;  // a tenth of the sequences, half of the passages relevant; text of 2, passages of 4 to 128 tokens
class PartedText;
class ShuffledPasses;

// measure
struct PeakOptions;  // 0.1 seconds a peak, 512 MB of memory to read
struct MachinePeaks;
class ReadStream;
struct TensorSize;
struct ModelCost;
struct RetrievalLengths;
struct RetrievalSample;
enum class RunTimeLayout;
struct RunTimeOptions;
struct RunTime;
struct StoredPassage;
enum class TraceKind : unsigned char;
struct TraceSpan;
struct TracedContext;
struct TracedPlan;
class ReuseTrace;
enum class ReuseWay;
enum class ReuseAxis;
struct ReusePoint;    // a history of 2048 tokens, a stride of 16, 1 passage of 128
struct ReuseOptions;  // new passages, 3 repetitions
struct ReuseCounts;
struct ReuseRow;
struct AppendWins;
struct ReuseSweepOptions;  // powers of two around the point above; all ways that need only text
struct ReusePoints;
struct ReuseSweep;
struct EvaluatedWork;
struct CostModel;
struct AdvisedWay;
struct AdviceOptions;  // aside, append or prepend, by powers of two, for a history of 2048 tokens and passages of 128
struct Advice;
class PredictedSeconds;
struct PredictionErrors;  // of fit_cost_model.hpp, which is not in the umbrella

// eval
struct PerplexityOptions;
struct Perplexity;
struct ModelComparison;
struct TokenScore;
struct RetrievalPerplexityOptions;
struct RetrievalPerplexity;
struct ScheduledPerplexity;
struct StrideDifference;

// train
struct LoraOptions;      // no modules; rank 16, alpha 32, dropout 0.05
struct TrainingTargets;  // a LoRA, marker rows, or all
enum class Decay : std::uint8_t;
struct LearningRate;  // 1e-4, cosine, warm-up 0.1, 1000 steps
struct AdamWOptions;  // 0.9, 0.999, 1e-8, no decay
struct AdamWStep;
struct Parameter;
class ParameterLayout;
struct TrainerOptions;  // clips at 1, seed 0, serial
struct StepResult;
struct LossSum;
struct TrainerState;
class Trainer;
struct InitialOptions;  // deviation 0.02, tied, seed 0
class CheckpointFile;

}  // namespace flashback::inline FLASHBACK_ISA
