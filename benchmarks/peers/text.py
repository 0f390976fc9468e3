"""What the page says beside its tables: what was asked, what a figure means, and who was left out and why."""

CASES_TEXT = (
    "Everybody gets the model, eight GPUs of one type on one instance, the lengths and the targets (TTFT / TPOT).",
    "Peers take mean lengths; we take the distribution of a preset. In the case `1155/211` every request has these",
    "lengths, so nobody knows more. AIConfigurator is asked for vLLM and answers with the better of its two modes;",
    "vllm-sr-sim's split planner, the one of its planners that takes both targets, is asked for every pair of TP",
    "degrees. `4 P 2x1` is four prefill replicas of TP 2 and PP 1; D decodes, M does both.",
    "",
    "Columns `by …` are requests/s. By thunderctl: simulated goodput, the highest rate of Poisson arrivals at which",
    "90 % of the requests meet both targets for ten minutes. By AIConfigurator: its own estimate at mean lengths, at",
    "the best batch within the targets; nobody waits there, so it is higher. By vllm-sr-sim: its formulas, without",
    "targets. Each scorer favours the planner that maximises it: the columns of the others are what to look at. CPU s",
    "is the time to find the fleet, imports aside.",
)
PLANNED_TEXT = (
    "Where the targets are loose, AIConfigurator and ours find the same fleet. At the strictest they differ, each",
    "first by its own scorer: at mean lengths, with nobody waiting, splitting the phases serves a little more; with",
    "the preset's long prompts and Poisson arrivals a prefill replica of TP 1 is late too often. AIConfigurator",
    "searches any number of GPUs of one or two types, for three engines, quantised models and experts over many",
    "machines, which we don't; it knows no prices, no lengths but the mean ones, and no networks between clouds.",
)
PREDICTING_TEXT = (
    "Mean absolute error in per cent, and Spearman's rank correlation. `ours` are the package's coefficients, which",
    "were fitted to the rows of Llama-2-70B and of Llama-3.1-8B (not their TTFT); the next column is fitted without",
    "their source. No row of Qwen3-32B was ever used for ours. AIConfigurator was not fitted to whole engines: it",
    "adds up kernel times that it measured on these GPUs, with newer engines (vLLM 0.24 and SGLang 0.5.14 on H100,",
    "vLLM 0.14 on A100) than the rows have, and it answers for no others. The rows of whole engines are its own",
    "sample, a closed loop of so many clients. TTFT under load is mostly waiting: our cost model has no formula for",
    "it and gives none. vllm-sr-sim and GenZ are formulas over data sheets; GenZ knows single passes and is asked for",
    "those alone.",
)
PREDICTED_TEXT = (
    "Ours takes SGLang for vLLM, which AIConfigurator need not: it has SGLang's own kernels. The six rows of SGLang",
    "0.5.8 are at TP 1, where the weights leave so little room for KV that most of the 16 clients wait (TTFT 7 to 89",
    "s): fewer decode together than ours and AIConfigurator reckon with, and what vllm-sr-sim hits there is by",
    "chance, as its rank says.",
)
SPEED_TEXT = (
    "The Azure conversation hour over twelve replicas. This is not the same work: ours plays every pass of every",
    "engine (chunks, batches, KV, preemption), vllm-sr-sim one event for each request. AIConfigurator and GenZ",
    "simulate no requests. (vllm-sr-sim's instances hold a slot for the service time divided by the number of slots,",
    "which its planner does not, so its event simulation scores nobody here.)",
)
LEFT_OUT = (
    "## Left out",
    "",
    "* Vidur 0.0.26 installs, but takes the profiles that it predicts by from a model hub at run time.",
    "* Kavier 0.5.3 simulates one request at a time on one GPU, without batches or tensor parallelism.",
    "* llm-d-planner 0.3.3 looks up measurements and simulations of its own four traffic profiles; lengths of others",
    "  can't be asked.",
    "* aisimulate, which is to take AIConfigurator's place, had nightly builds only.",
)
