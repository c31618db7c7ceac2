"""The ledger: each claim of the sources as one row, in our words, with how it was tested and what decides."""

from collections.abc import Callable
from dataclasses import dataclass

from relmem_lite.claims import rules
from relmem_lite.claims.evidence import Evidence, Ruling


@dataclass(frozen=True)
class Source:
    """Who claims: `name` for a table, `title` in words, `citation` a key of the book's bibliography or None."""

    name: str
    title: str
    citation: str | None


SOURCES: dict[str, Source] = {
    "P1": Source("RMC", "the relational memory paper and summaries of it", "santoro2018relational"),
    "L": Source("PyTorch port", "the usual PyTorch port of the relational memory, and its notes", None),
    "P2": Source("RNNs, not yet", "RNNs are not Transformers (yet)", "wen2024rnns"),
    "P3": Source("minGRU", "Were RNNs all we needed?", "feng2024were"),
    "D": Source("discussion", "the public discussion of minGRU", None),
}
"""Who claims, by a short key, in the order in which the book meets them."""


@dataclass(frozen=True)
class Claim:
    """A row of the ledger.

    Attributes:
        number: "1" to "30"; parts of claim 8 are "8a" to "8f".
        sources: keys of SOURCES.
        statement: what is claimed, in our words: a paraphrase of the source, never a quotation.
        test: how it was tested here.
        decides: the rule, in words; `rule` is the same in code.
        rule: from evidence to a verdict and its reason.
        chapters: chapters that hold the whole experiment.
        note: what its own author corrected or withdrew, or what in the source is known to be wrong.
    """

    number: str
    sources: tuple[str, ...]
    statement: str
    test: str
    decides: str
    rule: Callable[[Evidence], Ruling]
    chapters: tuple[int, ...] = ()
    note: str = ""


_AHEAD = "ahead means: every seed above every seed of the other"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "1",
        ("P1",),
        "One state vector limits how well stored items can be compared; slots that attend to one another fix it.",
        "Nth farthest: which of K vectors is nth farthest from another? Memory and LSTM at equal parameters.",
        "Held if the memory is ahead and more than half-way from the shortcut 2/K to 1 while the LSTM stays at the "
        f"shortcut, in the better of two ways to draw its input weights; partly if it is ahead; {_AHEAD}.",
        rules.slots_that_compare,
        (1, 2, 4),
        "The usual port puts a softmax before its cross-entropy, and sat at 25 %, which is the shortcut at K = 8. The "
        "rule first took PyTorch's way to draw an LSTM alone; by that one the claim has held.",
    ),
    Claim(
        "2",
        ("P1",),
        "The memory's gates are an input gate, a forget gate and an output gate.",
        "Exact: which gates the memory has, and whether its output is more than its state.",
        "Failed if there are two gates, input and forget, and the output equals the state to the last bit.",
        rules.no_output_gate,
        (3,),
        "A summary's mistake: the paper's reference code has no output gate.",
    ),
    Claim(
        "3",
        ("P1",),
        "Gates keep a memory row from being overwritten.",
        "Copying through distractors: the memory without gates, with one a row and with one a number.",
        f"Held if both kinds of gates are ahead of none, partly if one is; {_AHEAD}.",
        rules.gates_keep,
        (3,),
    ),
    Claim(
        "4",
        ("P1",),
        "Sorting sequences is among the tasks that the relational memory solves.",
        "Exact: how many answers Nth farthest asks for. And real sorting: the items' places in order.",
        "Held if the paper's task asks for a sequence and the memory is ahead of the LSTM at sorting, in the better of "
        "two ways to draw the LSTM's input weights; partly if one.",
        rules.sorting_among_the_tasks,
        (4,),
        "A summary's word: the paper's task ranks distances and asks for one label.",
    ),
    Claim(
        "5",
        ("P1",),
        "The memory gains most where items are compared explicitly.",
        "Its lead over the LSTM on Nth farthest, drawn in the better of two ways, and on copying words, at equal "
        "parameters.",
        "Held if it is ahead on Nth farthest and within 0.02 of the LSTM on copying; partly if its lead is larger.",
        rules.largest_gain_where_compared,
        (4,),
    ),
    Claim(
        "6",
        ("P1",),
        "Transformers train in parallel better; the relational memory has a bounded state.",
        "Time of a layer, forward and backward, at the longest sequence that both were measured at; floats kept.",
        "Held if attention is faster and its state grows while the memory's does not; partly if one of the two.",
        rules.parallel_against_bounded,
        (7, 14),
    ),
    Claim(
        "7",
        ("P2",),
        "Thinking aloud helps RNNs, but not enough; retrieval from the context or one attention layer closes the gap.",
        "IsTree at the largest graphs recorded: a recurrent stack, a hybrid, and attention, whose lead when thinking "
        "aloud is the gap; the answers are written, not given.",
        "Held if the direct answer stays near 0.5, thinking aloud is ahead of it and attention ahead of both, and "
        "searches and one attention layer both come within 0.02 of attention; partly if one of the two does.",
        rules.retrieval_closes_the_gap,
        (11, 12),
        "The rule first asked searches and the one layer for 0.95 each. Then the record showed that attention itself "
        "has not learned that much here, and the rule was changed; by the first one the claim has failed.",
    ),
    Claim(
        "8",
        ("L",),
        "The relational memory is very slow: about 35 times as slow as the LSTM.",
        "Forward and backward at the port's size, in one process, against the library's LSTM.",
        "Held if each way to run it takes 16 times as long or more, half of what was withdrawn; partly if slower.",
        rules.slowness,
        (5,),
        "Withdrawn by its author: 110 ms against 3 ms were measured without waiting for the GPU; with it, 110 to 130 "
        "ms against 26 to 27, about 4 to 5 times.",
    ),
    Claim(
        "8a",
        ("L",),
        "More slots do not help.",
        "The port's hyperparameters again, over seeds: points that differ in their slots alone, 4 against 1.",
        f"Held if four slots are ahead in no pair, partly if in some; {_AHEAD}.",
        rules.more_slots_do_not_help,
        (5,),
    ),
    Claim(
        "8b",
        ("L",),
        "More heads hurt.",
        "The same sweep: twice as many heads of half the size, so that the memory is as wide as before.",
        f"Held if more heads are behind in every pair, partly in some; {_AHEAD}.",
        rules.more_heads_hurt,
        (5,),
        "Confounded in the port's table, where the width doubled with the heads.",
    ),
    Claim(
        "8c",
        ("L",),
        "Dropout on the output helps.",
        "The same sweep: points with output dropout 0.5 against the same without.",
        f"Held if dropout is ahead in every pair, partly in some; {_AHEAD}.",
        rules.dropout_helps,
        (5,),
    ),
    Claim(
        "8d",
        ("L",),
        "Smaller keys reduce overfitting.",
        "The same sweep: points that differ in the size of a key alone, by a half or a quarter.",
        f"Held if the smaller key is ahead in every pair, partly in some; {_AHEAD}.",
        rules.smaller_keys_help,
        (5,),
    ),
    Claim(
        "8e",
        ("L",),
        "After a heavy search the memory's perplexity is comparable to the LSTM's.",
        "WikiText-2, or a tenth of it: memory and LSTM at equal parameters, rates swept for both.",
        "Held if the means differ by at most 5 %, partly if the memory is better by more.",
        rules.comparable_to_the_lstm,
        (5,),
        "The port's printed test perplexity of the memory weights the last, shorter chunk as a full one: 107.2 becomes "
        "about 105.5, a tie with the LSTM.",
    ),
    Claim(
        "8f",
        ("L",),
        "One slot is the worst case for speed.",
        "768 numbers with four heads, in one slot or in four, forward and backward, 35 steps.",
        "Held if one slot takes longer, both as the paper writes the memory and in this book's form; partly in one.",
        rules.one_slot_is_slowest,
        (5,),
    ),
    Claim(
        "9",
        ("P3", "D"),
        "The log-space form is needed for numerical stability.",
        "Exact: one recurrence in float32, 512 steps, three ways, against a loop in float64.",
        "Held if the closed form breaks down, log-space does not, and is more exact than the plain loop; partly if it "
        "rescues the closed form alone.",
        rules.log_space_for_stability,
        (7,),
    ),
    Claim(
        "10",
        ("P3",),
        "At 512 steps minGRU trains 175 times as fast as a GRU.",
        "One layer of width 128 or more, forward and backward, against a GRU looped in Python and the library's.",
        "Held at 87 times the library's GRU or more, half of the claim; partly if it is faster at all.",
        rules.many_times_faster,
        (7,),
        "The paper's factor is against a loop in Python, not against the fused GRU of a library.",
    ),
    Claim(
        "11",
        ("P3",),
        "minGRU and minLSTM have fewer parameters than GRU and LSTM.",
        "Exact: counted, for a state of one, two and four times the input's size.",
        "Held if they have fewer at every size, partly at some.",
        rules.fewer_parameters,
        (6,),
    ),
    Claim(
        "12",
        ("P3",),
        "minGRU and minLSTM match modern models, such as Mamba, on selective copying.",
        "Selective copying at every depth, with the GRU baseline that the paper left out, at about equal parameters.",
        "Held if they are within 0.02 of Mamba at the largest depth and minGRU within 0.02 of GRU at each; partly if "
        "the first.",
        rules.matches_modern_models,
        (8,),
    ),
    Claim(
        "13",
        ("P3", "D"),
        "On Shakespeare's letters Transformers need 2.5 times more steps than minGRU.",
        "A character model of tinyshakespeare at the paper's size: the step of the lowest validation loss.",
        f"Held at 2.5 times as many or more, partly if minGRU is there first; {_AHEAD}.",
        rules.steps_of_transformers,
        (8,),
        "2000 steps against 575 are 3.5 times as many, which is 2.5 times more.",
    ),
    Claim(
        "14",
        ("D",),
        "A commenter's module of five lines is minGRU.",
        "Exact: made as posted; made to run and compared with minGRU, weight for weight.",
        "Held if it runs and is minGRU; partly if it is once mended and the sign of its gate is turned.",
        rules.posted_module,
        (6,),
    ),
    Claim(
        "15",
        ("D",),
        "Gates that are small networks instead of one linear layer would do more.",
        "minGRU with a network as its gate against minGRU, on selective copying and on tracking a state. No record has "
        "chapter 6's two bits, a choice that no single linear gate can make.",
        f"Held if the network is ahead on both tasks of the record, partly on one; {_AHEAD}.",
        rules.networks_as_gates,
        (6,),
    ),
    Claim(
        "16",
        ("D",),
        "Without gates that see the hidden state it is no more than an MLP.",
        "Exact: minGRU at z = 1, and at its usual z.",
        "Failed if at z = 1 it is a layer applied to each token, and at its usual z an early token has an effect.",
        rules.only_a_network_per_token,
        (6,),
    ),
    Claim(
        "17",
        ("D",),
        "Gates that see their token alone read a book whose pages are torn out and shuffled.",
        "Exact: minGRU's gates, candidates and last state, before and after shuffling the tokens.",
        "Partly if gates and candidates are shuffled and otherwise the same, and the last state is another.",
        rules.torn_out_pages,
        (6,),
    ),
    Claim(
        "18",
        ("D",),
        "A state of fixed size bounds recall.",
        "Recall of key-value pairs against the bits of the state, with the counting bound.",
        "Held if nobody is above the bound, every fixed state falls from few pairs to many, and a growing state is "
        "above the best of them by more than 0.02; partly if the first.",
        rules.fixed_state_bounds_recall,
        (10,),
    ),
    Claim(
        "19",
        ("D",),
        "One attention layer beside a parallel RNN gives strong recall.",
        "The same record: minGRU and one attention layer in one stack, at the most pairs.",
        f"Held if it is ahead of every fixed state and within 0.02 of attention alone, partly if ahead; {_AHEAD}.",
        rules.one_attention_layer,
        (10, 12),
    ),
    Claim(
        "20",
        ("D",),
        "Parallel RNNs are no real RNNs: they cannot track a state.",
        "Word problems of groups, learned from short chains and tested on the longest recorded.",
        "Held if loops reach 0.95, minGRU and Mamba stay within 0.1 of chance and no scan reaches 0.95, on all groups; "
        "partly if on all groups each loop is above minGRU and Mamba.",
        rules.not_real_recurrences,
        (9,),
    ),
    Claim(
        "21",
        ("D",),
        "QRNN and SRU are nearly minGRU.",
        "Exact: QRNN with window 1, without tanh and output gate, and SRU without its highway, with minGRU's weights.",
        "Held if the outputs of both are equal to minGRU's to the rounding of float32, partly if those of one.",
        rules.qrnn_and_sru_are_min_gru,
        (8,),
    ),
    Claim(
        "22",
        ("D",),
        "minGRU and Mamba are the same recurrence, with a step that depends on the input.",
        "Exact: the states that both record, against h = a h + b. And the same harness for both: selective copying.",
        "Held if both are that recurrence and end within 0.02 of each other at the largest depth, partly if the first.",
        rules.the_same_as_mamba,
        (8,),
    ),
    Claim(
        "23",
        ("D",),
        "Recurrent networks are IIR filters, feed-forward ones FIR filters.",
        "Exact: how many taps match one pole; whether answers to a sum are sums of answers.",
        "Partly if it is exact at a fixed gate and no longer true once the gate depends on the input.",
        rules.recurrent_is_iir,
        (6,),
    ),
    Claim(
        "24",
        ("D",),
        "With enough data all architectures converge to the same.",
        "Best against worst on tracking a state and on copying strings, whose samples never end: half-way and at last.",
        "Failed if on both tasks the last gap is above 0.2 and more than half of the gap half-way; partly on one.",
        rules.all_converge,
        (9, 10),
    ),
    Claim(
        "25",
        ("D",),
        "Parallel RNNs are competitive at small scale only.",
        "Language models of generated stories at three sizes, tenfold apart: minGRU, attention, LSTM.",
        "Held if attention is ahead at the largest size and not at the smallest, failed if at the smallest, partly if "
        f"at neither; {_AHEAD}.",
        rules.only_at_small_scale,
        (5,),
        "Large scale is not tested here: what is not behind at these sizes may be behind at others.",
    ),
    Claim(
        "26",
        ("D",),
        "Recurrences without the state in their gates have solved the vanishing gradient.",
        "Exact: dh_T/dh_0 by autograd and as a product. And minGRU on a long delay, by the bias its gate begins with.",
        "Held if a fresh minGRU's product over 100 steps is above 1e-7, float32's resolution; partly if it is not and "
        f"an open start is ahead; {_AHEAD}.",
        rules.vanishing_gradients,
        (6,),
    ),
    Claim(
        "27",
        ("D",),
        "RNNs are Turing complete.",
        "Exact: bits kept on a stack that is one number, in floats and in fractions of unlimited precision.",
        "Partly if 200 bits come back with unlimited digits and not with those of a float.",
        rules.turing_complete,
        (9,),
        "The proof needs unbounded precision or unbounded time.",
    ),
    Claim(
        "28",
        ("D",),
        "RNNs had better scaling curves.",
        "Not tested.",
        "Not testable here, whatever is recorded.",
        rules.better_scaling_curves,
        (14,),
    ),
    Claim(
        "29",
        ("D",),
        "Reuse over time beats depth.",
        "At equal parameters: one block several times against several blocks, and one block of GRU against them.",
        f"Held if reuse is ahead in all four comparisons, partly in some; {_AHEAD}.",
        rules.reuse_beats_depth,
        (9,),
    ),
    Claim(
        "30",
        ("D",),
        "RNNs, attention and Hopfield networks are connected.",
        "Exact: one update of a modern Hopfield network against attention from its state to its patterns.",
        "Held if they are equal to the rounding of float32.",
        rules.attention_is_hopfield,
        (2,),
    ),
)
"""Every claim, in the order of its number."""
