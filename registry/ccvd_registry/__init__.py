"""The registry: every concept ever learned, its tensors and what it was made from, in one folder.

Rows live in SQLite, tensors in content-addressed safetensors files beside it. This package knows neither
torch nor the command line; importing it costs a few milliseconds, because SQLModel is only loaded by the
first write and alembic only by a schema that is behind.
"""

from .blobs import BlobStore
from .errors import (
    BlobCorrupt,
    BlobMissing,
    ConceptNotFound,
    ConceptReplaced,
    HomeNotWritable,
    IllegalDigest,
    IllegalName,
    NameTaken,
    RegistryBusy,
    RegistryCorrupt,
    RegistryError,
    RegistryTooNew,
    RequestError,
)
from .store import Registry
from .views import (
    KINDS,
    BaseFacts,
    BaseLike,
    ConceptView,
    DataFile,
    EvaluationView,
    GenerationView,
    NewConcept,
)

__all__ = [
    "KINDS",
    "BaseFacts",
    "BaseLike",
    "BlobCorrupt",
    "BlobMissing",
    "BlobStore",
    "ConceptNotFound",
    "ConceptReplaced",
    "ConceptView",
    "DataFile",
    "EvaluationView",
    "GenerationView",
    "HomeNotWritable",
    "IllegalDigest",
    "IllegalName",
    "NameTaken",
    "NewConcept",
    "Registry",
    "RegistryBusy",
    "RegistryCorrupt",
    "RegistryError",
    "RegistryTooNew",
    "RequestError",
]
