"""What comes out of `explore`. CONTRACT of other programs; only ever extended.

Names are clinical words (`text`); `name` is the feature, or the column of the encoded table, that they stand for.
`basis` says of each table whether its figures come from rows that were held out.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from posologist.core.evaluation import Interval
from posologist.core.genotype import Versions
from posologist.core.prediction import Label
from posologist.core.values import Count, Many, Value

ExplorationNumber = Annotated[float, Field(json_schema_extra={"number": "exploration"})]
"""A number of an exploration, computed from the table given; what it is stands with its table."""

Basis = Literal["held out", "in-sample"]
"""held out: measured on rows that the model was not fitted on. in-sample: described on the rows that were searched."""


class Ranked(Value):
    """One feature and how much the loss on rows held out rises when its values are dealt to other rows."""

    name: str
    text: str
    rise: Interval


class ImportanceTable(Value):
    """Permutation importance by one model; `loss` names what rises, `rows` begin with the greatest."""

    model: Literal["random forest", "LightGBM"]
    loss: str
    basis: Basis
    rows: Many[Ranked]


class SelectedColumn(Value):
    """One column under the LASSO.

    `entered` is its place in the order of entry (0: never); `coefficient` that per standard deviation at the penalty of
    least error on inner folds (0: not chosen); `share` that of the random halves of patients in which it is among the
    first to enter; `selected`: at least the table's threshold.
    """

    name: str
    text: str
    entered: Count
    coefficient: ExplorationNumber
    share: ExplorationNumber
    selected: bool


class SelectionTable(Value):
    """LASSO path and stability selection.

    Of `columns` columns `taken` are taken in each half; then at most `wrong_at_most` columns are expected to be
    selected wrongly. `chosen` are those with a coefficient at the path's chosen penalty.
    """

    basis: Basis
    columns: Count
    chosen: Count
    taken: Count
    halves: Count
    threshold: ExplorationNumber
    wrong_at_most: ExplorationNumber
    rows: Many[SelectedColumn]


class Components(Value):
    """A linear model on the principal components that keep this share of the variance; 1: on the columns themselves."""

    share: ExplorationNumber
    held_out_loss: ExplorationNumber


class ComponentsTable(Value):
    """Whether principal components help a linear model: least loss on inner folds; `kept` is the share that has it."""

    loss: str
    basis: Basis
    help: bool
    kept: ExplorationNumber
    rows: Many[Components]


class Marker(Value):
    """One marker tested by itself, on one row of each of `n` patients in whom it is known.

    `effect` is the partial correlation for an amount, the log odds per unit of the column for a yes/no outcome (None:
    it does not vary beyond what it is adjusted for); `found`: adjusted p-value (Benjamini, Hochberg) within the table's
    false-discovery rate.
    """

    name: str
    text: str
    genome: bool
    n: Count
    effect: ExplorationNumber | None
    p_value: ExplorationNumber
    q_value: ExplorationNumber
    found: bool


class MarkerTable(Value):
    """All markers under one adjustment, those of the genome first."""

    adjusted_for: str
    effect_is: str
    false_discovery_rate: ExplorationNumber
    basis: Basis
    rows: Many[Marker]


class GenomeControl(Value):
    """What the genome adds to a model, beside what genomes dealt to other patients add (`dealt`: must be nothing).

    Gains are falls of `loss` on rows held out, with intervals over patients. `dealt` is the mean over `permutations`
    deals among patients with the same value of `within`; `p_value` is the share of gains, the real one among them, at
    least as great as the real one. `vanishes`: the interval of `dealt` is not above zero.
    """

    features: Many[str]
    within: str
    model: str
    loss: str
    basis: Basis
    gain: Interval
    p_value: ExplorationNumber
    permutations: Count
    dealt: Interval
    vanishes: bool


class TriedClusters(Value):
    """One number of clusters.

    `least_jaccard` is the similarity of the least stable cluster with its like in bootstrap resamples; `silhouette` how
    tight the clusters are, `by_chance` how tight they get at most in reference data without clusters.
    """

    clusters: Count
    least_jaccard: ExplorationNumber
    silhouette: ExplorationNumber
    by_chance: ExplorationNumber


class Trait(Value):
    """One feature in one stratum: the median of a number, or the percentage with a state."""

    name: str
    text: str
    value: ExplorationNumber
    unit: str


class Stratum(Value):
    """Patients of one cluster, their outcome (mean, or percentage), and what sets the clusters apart."""

    n: Count
    outcome: Interval
    traits: Many[Trait]


class StrataTable(Value):
    """Clusters of patients found without the outcome; `strata` is empty where none are stable.

    `same_as` names the state that by itself parts the patients into the same two clusters, 95 in 100 or more.
    """

    conclusion: str
    warning: str
    outcome: str
    basis: Basis
    features: Count
    tried: Many[TriedClusters]
    strata: Many[Stratum] = ()
    same_as: str = ""


class Relevant(Value):
    """Mean absolute relevance of one feature in the network, and its mean absolute part in the served engine."""

    name: str
    text: str
    relevance: ExplorationNumber
    engine: ExplorationNumber | None = None


class RelevanceTable(Value):
    """Layer-wise relevance of the network alone, beside Shapley parts of the engine over `engine_rows` rows."""

    unit: str
    basis: Basis
    engine_rows: Count = 0
    rows: Many[Relevant]


class ExplorationDocument(Value):
    """Document `posologist/exploration/1`: what one table says about one outcome. Nothing in it selects what is served.

    `rows` counts the rows with a known outcome, `n` their patients; `findings` say what was left out or could not be
    computed, and what must be said of the table.
    """

    schema_: Literal["posologist/exploration/1"] = Field(default="posologist/exploration/1", alias="schema")
    task: str
    label: Label
    title: str
    outcome: str
    unit: str
    licence: str
    source: str
    n: Count
    rows: Count
    quick: bool
    resamples: Annotated[int, Field(json_schema_extra={"number": "setting"})]
    seed: Annotated[int, Field(json_schema_extra={"number": "setting"})]
    importance: Many[ImportanceTable]
    selection: SelectionTable
    components: ComponentsTable
    markers: Many[MarkerTable]
    genome: GenomeControl | None = None
    strata: StrataTable
    relevance: RelevanceTable
    findings: Many[str] = ()
    versions: Versions
