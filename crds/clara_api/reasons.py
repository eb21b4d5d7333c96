"""Every condition reason, with the sentence that says when it is used.

`docs/conditions.md` is rendered from this table. A reason that is not here cannot be written: the operator's tests assert it.
"""

from __future__ import annotations

REASONS: dict[str, str] = {}


def _reason(name: str, sentence: str) -> str:
    REASONS[name] = sentence
    return name


# -- shared -------------------------------------------------------------------------------------------------------------
PENDING = _reason("Pending", "Nothing is known yet; the operator has not finished its first look.")
UNREADABLE = _reason("Unreadable", "This version of Clara cannot read the object; the message names the field.")
URI_NOT_ALLOWED = _reason("UriNotAllowed", "A URI lies outside the prefixes this namespace may use; no pod was made.")
GOLDEN_DATASET_MISSING = _reason(
    "GoldenDatasetMissing", "The GoldenDataset named in evaluation does not exist (yet), or cannot be read."
)
NOT_SERVABLE = _reason(
    "NotServable", "The engines that serve this family would refuse the adapter; the message says why."
)

# -- TrainingJob --------------------------------------------------------------------------------------------------------
QUEUED = _reason("Queued", "The run is accepted and waits: for its turn in the namespace, or for its pod.")
SUSPENDED = _reason("Suspended", "spec.suspend is true; the newest checkpoint is in the store.")
RESUMED = _reason("Resumed", "A pod took the run up at its newest checkpoint; the event names step and interruptions.")
STARTING = _reason("Starting", "The pod exists and is being scheduled, pulled or started.")
PREPARING = _reason("Preparing", "The pod runs: it fetches the base model and checks the data; no step was taken yet.")
TRAINING = _reason("Training", "Steps are being taken; status.progress moves.")
PUBLISHING = _reason("Publishing", "All steps are done; the artifact is being written and recorded.")
SUCCEEDED = _reason("Succeeded", "The artifact is in the store and its Adapter exists.")
DATA_INVALID = _reason("DataInvalid", "A training file cannot be used; the message names the file and the line.")
DATA_CHANGED = _reason(
    "DataChanged", "A source is not what the first attempt read; restore it, or raise spec.rerun to start anew."
)
DATA_READY = _reason("DataReady", "All training files were read and validated.")
OUT_OF_MEMORY = _reason("OutOfMemory", "The pod or the device ran out of memory.")
MEMORY_PLAN_CHANGED = _reason(
    "MemoryPlanChanged", "The step is cut finer to fit into memory; the step itself never changes."
)
PREEMPTED = _reason("Preempted", "The pod was evicted or preempted before the run was complete.")
BASE_MODEL_UNAVAILABLE = _reason(
    "BaseModelUnavailable", "The base model could not be fetched or loaded, or its digest is another."
)
STORE_UNREACHABLE = _reason("StoreUnreachable", "The artifact store did not answer, or refused the key.")
DISK_FULL = _reason("DiskFull", "The pod's scratch space, or what it may write besides, is full; raise spec.scratch.")
NODE_LOST = _reason("NodeLost", "The node of the pod is gone; the run goes on from its newest checkpoint on another.")
DRY_RUN_DONE = _reason("DryRunDone", "The dry run took its step; status.dryRun holds memory and time.")
DIVERGED = _reason("Diverged", "The loss became not-a-number or infinite, or rose far above knowing nothing.")
DEADLINE_EXCEEDED = _reason("DeadlineExceeded", "The run took longer than it may.")
BUG = _reason("Bug", "The trainer failed in a way it does not know; the last log lines are in status.attempts.")
POD_LOST = _reason(
    "PodLost", "The pod vanished without an outcome; a recovery Job looks for the artifact in the store."
)
RETRYING = _reason("Retrying", "The last attempt failed in a way that may pass; the next one is planned.")
START_ADAPTER_UNUSABLE = _reason(
    "StartAdapterUnusable",
    "The Adapter named in startFrom is missing or not verified, or of another family or base; no pod was made.",
)
GOLDEN_LEFT_OUT = _reason(
    "GoldenLeftOut", "A GoldenDataset of the family could not be given to the run, so leaks from it are not found."
)
IMAGE_UNAVAILABLE = _reason("ImageUnavailable", "The pod's image cannot be pulled.")
UNSCHEDULABLE = _reason("Unschedulable", "No node can take the pod; the message holds the scheduler's words.")
VERSION_TAKEN = _reason("VersionTaken", "The forced version exists already and belongs to another run.")

# -- GoldenDataset ------------------------------------------------------------------------------------------------------
VALID = _reason("Valid", "All samples can be scored.")
SAMPLES_INVALID = _reason("SamplesInvalid", "A sample or scorer cannot be used; the message names it.")
JUDGE_REACHABLE = _reason("JudgeReachable", "The judge answered the last evaluation that asked it.")
JUDGE_UNREACHABLE = _reason("JudgeUnreachable", "The judge did not answer the last evaluation that asked it.")
JUDGE_NOT_ASKED = _reason("JudgeNotAsked", "No evaluation has asked the judge yet.")
NO_JUDGE = _reason("NoJudge", "This set scores with local scorers only.")

# -- Adapter ------------------------------------------------------------------------------------------------------------
ARTIFACT_VERIFIED = _reason("ArtifactVerified", "Manifest and files were read and every digest agrees.")
ARTIFACT_INVALID = _reason("ArtifactInvalid", "Manifest or a file is missing, altered or not safetensors.")
BASE_MISMATCH = _reason("BaseMismatch", "The artifact was trained on another base model than the one named.")
EVALUATING = _reason("Evaluating", "The golden prompts are being answered and scored.")
EVALUATED = _reason("Evaluated", "A report exists for these artifact and golden digests.")
EVALUATION_FAILED = _reason("EvaluationFailed", "The evaluation ended without a report; the message holds the cause.")
NOT_EVALUATED = _reason("NotEvaluated", "No golden dataset is named, so nothing was measured.")
APPROVED = _reason("Approved", "The decision is: may be served.")
NEEDS_REVIEW = _reason("NeedsReview", "A person must decide: see 'kubectl clara review'.")
REJECTED = _reason("Rejected", "The decision is: must not be served.")
APPROVED_BY_PERSON = _reason("ApprovedByPerson", "A person approved it; the message names them and their reason.")
REJECTED_BY_PERSON = _reason("RejectedByPerson", "A person rejected it; the message names them and their reason.")
SCORE_BELOW_REVIEW = _reason("ScoreBelowReview", "The score is below thresholds.review.")
SCORE_BETWEEN = _reason("ScoreBetween", "The score lies between thresholds.review and thresholds.approve.")
SCORE_ABOVE_APPROVE = _reason("ScoreAboveApprove", "The score reached thresholds.approve.")
HARD_CONSTRAINT_FAILED = _reason(
    "HardConstraintFailed", "A hard constraint of a sample was broken; a person must look."
)
UNSCORED_ANSWERS = _reason("UnscoredAnswers", "Some answers could not be scored, so the score cannot be trusted.")
NOT_SERVED = _reason("NotServed", "No ServingDeployment asks for this version.")
LOADING = _reason("Loading", "Engines are loading or verifying this version.")
SERVED = _reason("Served", "Verified and answering on as many engines as its family asks for.")
SUPERSEDED = _reason("Superseded", "A newer version of the family is served instead.")
LOAD_FAILED = _reason("LoadFailed", "At least one engine could not load or verify this version.")

# -- ServingDeployment --------------------------------------------------------------------------------------------------
ENGINES_STARTING = _reason("EnginesStarting", "Engine pods are starting; the message counts them.")
ENGINES_READY = _reason("EnginesReady", "All engines are healthy.")
ENGINES_FAILING = _reason("EnginesFailing", "Some engines are not healthy.")
ALL_VERIFIED = _reason("AllVerified", "Every family has its version verified on as many engines as it asks for.")
ADAPTERS_LOADING = _reason("AdaptersLoading", "Adapters are being loaded or verified.")
ADAPTERS_FAILING = _reason("AdaptersFailing", "Some adapters failed on some engines; see status.problems.")
NO_APPROVED_VERSION = _reason("NoApprovedVersion", "A family has no approved version in its range for this base.")
UPDATE_PENDING = _reason(
    "UpdatePending", "Engine pods run an older template; they follow at the next change of spec.engine."
)
UP_TO_DATE = _reason("UpToDate", "Engine pods run the newest template.")
EXTRA_ARG_REFUSED = _reason(
    "ExtraArgRefused", "engine.extraArgs holds a flag that is reserved or not on the allow-list."
)
