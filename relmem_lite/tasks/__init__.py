"""What is learned: each task draws its samples on the device and knows what solving it means."""

from relmem_lite.tasks.comparison import Comparison
from relmem_lite.tasks.copying import Copying
from relmem_lite.tasks.istree import IsTree
from relmem_lite.tasks.nth_farthest import NthFarthest
from relmem_lite.tasks.programs import Programs
from relmem_lite.tasks.recall import IndexLookup, NgramLookup, Recall, accuracy_within, bits_needed
from relmem_lite.tasks.selective_copying import SelectiveCopying
from relmem_lite.tasks.sorting import Sorting
from relmem_lite.tasks.state_tracking import StateTracking
from relmem_lite.tasks.string_copying import StringCopying
from relmem_lite.tasks.task import Batch, Task
from relmem_lite.tasks.text import Text

__all__ = [
    "Batch",
    "Comparison",
    "Copying",
    "IndexLookup",
    "IsTree",
    "NgramLookup",
    "NthFarthest",
    "Programs",
    "Recall",
    "SelectiveCopying",
    "Sorting",
    "StateTracking",
    "StringCopying",
    "Task",
    "Text",
    "accuracy_within",
    "bits_needed",
]
