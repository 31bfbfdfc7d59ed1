/**
 * The rows of the option table about GPUs and money.
 *
 * Layer 1, pure. Data of `option_table`, which says what each key means and
 * checks their types; `cost_options` says what the values mean.
 *
 * @module
 */

/** In the order of the help. */
export const GPU_OPTION_ROWS = [
  {
    name: "gpus",
    value: null,
    variable: "VLLM_HTOP_GPUS",
    group: "GPUs and cost",
    help: "show this machine's GPUs even where all servers are remote",
  },
  {
    name: "no-gpu",
    value: null,
    variable: "VLLM_HTOP_NO_GPU",
    group: "GPUs and cost",
    help: "start neither nvidia-smi nor amd-smi",
  },
  {
    name: "cost-in",
    value: "USD",
    variable: "VLLM_HTOP_COST_IN",
    group: "GPUs and cost",
    help: "worth of a million prompt tokens",
  },
  {
    name: "cost-cached-in",
    value: "USD",
    variable: "VLLM_HTOP_COST_CACHED_IN",
    group: "GPUs and cost",
    help: "worth of a million prompt tokens that came from a cache; unset: as --cost-in",
  },
  {
    name: "cost-out",
    value: "USD",
    variable: "VLLM_HTOP_COST_OUT",
    group: "GPUs and cost",
    help: "worth of a million output tokens",
  },
  {
    name: "gpu-cost-hour",
    value: "USD",
    variable: "VLLM_HTOP_GPU_COST_HOUR",
    group: "GPUs and cost",
    help: "cost of one GPU for an hour; unset: a hint by its name",
  },
  {
    name: "num-gpus",
    value: "N",
    variable: "VLLM_HTOP_NUM_GPUS",
    group: "GPUs and cost",
    help: "how many GPUs to pay for; unset: those of this machine that serve",
  },
  {
    name: "no-gpu-detect",
    value: null,
    variable: "VLLM_HTOP_NO_GPU_DETECT",
    group: "GPUs and cost",
    help: "pay for no GPU that is found here",
  },
  {
    name: "prices",
    value: "FILE",
    variable: "VLLM_HTOP_PRICES",
    group: "GPUs and cost",
    help: "prices of GPUs that go before the hints: lines of name, tab and USD per hour, or JSON",
  },
  {
    name: "currency",
    value: "SIGN",
    variable: "VLLM_HTOP_CURRENCY",
    default: "$",
    group: "GPUs and cost",
    help: "what stands before amounts; nothing is converted",
  },
  {
    name: "list-prices",
    value: null,
    group: "GPUs and cost",
    help: "print the hints, and end",
  },
] as const;
