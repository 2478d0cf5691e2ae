"""Every config key, with its default, unit and meaning. Keys without a note on `new` carry the released names.

docs/FACTORS.md has the factors of the method as tables, with the sections of the paper they belong to.
The three released settings in `configs/` override these. Keys marked "unused" exist so that released files load.
"""

from yacs.config import CfgNode as CN

_C = CN()
CHOICES: dict[str, tuple[str, ...]] = {}  # by full key: the values of those that are one of a few names
PATHS: set[str] = set()  # full keys whose values are paths, in which ~, $NAME and ${NAME} are expanded

# ---- Model -----------------------------------------------------------------------------------------------------------
_C.MODEL = CN()
# The task (mmn.engine.tasks): "MMN", moments of sentences; or new "ZERO_SHOT", the same by a dual encoder of images and
# text that nothing is trained of, "STVG", tubes of HC-STVG, or "TAN2D", moments by 2D-TAN. Files of other programs say
# "TAN", see mmn.config.released_names.
_C.MODEL.ARCHITECTURE = "MMN"
CHOICES["MODEL.ARCHITECTURE"] = ("MMN", "ZERO_SHOT", "STVG", "TAN2D")
_C.MODEL.DEVICE = "auto"  # "auto": a GPU where there is one, else the CPU; or "cuda", "cpu"

_C.INPUT = CN()
_C.INPUT.NUM_PRE_CLIPS = 256  # P: clips a video's feature rows are resampled to; a multiple of NUM_CLIPS

_C.MODEL.MMN = CN()
_C.MODEL.MMN.NUM_CLIPS = 128  # N: the proposal map is N x N
_C.MODEL.MMN.JOINT_SPACE_SIZE = 256  # C: dimension in which moments and sentences meet
_C.MODEL.MMN.SHARED_HEADS = False  # new: one projection into one joint space for both scores, in place of one for each
# New. Start the contrastive head as the dual encoder that features and text encoder are the halves of, and learn what is to
# be added to it; see docs/ZERO_SHOT.md.
_C.MODEL.MMN.DUAL_START = False

_C.MODEL.MMN.FEATPOOL = CN()
_C.MODEL.MMN.FEATPOOL.INPUT_SIZE = 4096  # D: width of the feature rows; a list: the width of each feature track
_C.MODEL.MMN.FEATPOOL.HIDDEN_SIZE = 512  # H
_C.MODEL.MMN.FEATPOOL.KERNEL_SIZE = 2  # of the average pooling, in resampled clips

_C.MODEL.MMN.FEAT2D = CN()
_C.MODEL.MMN.FEAT2D.NAME = "pool"  # of a moment's clips the maximum, or "conv", a Conv1d over them
CHOICES["MODEL.MMN.FEAT2D.NAME"] = ("pool", "conv")
_C.MODEL.MMN.FEAT2D.POOLING_COUNTS = [15, 8, 8, 8]  # steps per group; group g has stride 2^g

_C.MODEL.MMN.TEXT_ENCODER = CN()
_C.MODEL.MMN.TEXT_ENCODER.NAME = "BERT"
# New. A hub name or a local folder of any Hugging Face encoder with a last_hidden_state, and its tokenizer. Of a dual
# encoder such as CLIP or SigLIP the text half is taken.
_C.MODEL.MMN.TEXT_ENCODER.PRETRAINED = "distilbert-base-uncased"
PATHS.add("MODEL.MMN.TEXT_ENCODER.PRETRAINED")
# New. Mean over the tokens; "cls" or "end", the first or the last token's state alone; or "own", the vector that the
# encoder was trained to give: of CLIP and SigLIP the one shared with images, of sentence-transformers its own pooling.
_C.MODEL.MMN.TEXT_ENCODER.POOLING = "mean"
CHOICES["MODEL.MMN.TEXT_ENCODER.POOLING"] = ("mean", "cls", "end", "own")
# New. How many of the encoder's last layers train after FREEZE_BERT; -1: all of them, and the embeddings; 0: none.
_C.MODEL.MMN.TEXT_ENCODER.TRAIN_LAYERS = -1

_C.MODEL.MMN.PREDICTOR = CN()
_C.MODEL.MMN.PREDICTOR.HIDDEN_SIZE = 512
_C.MODEL.MMN.PREDICTOR.KERNEL_SIZE = 5  # odd
_C.MODEL.MMN.PREDICTOR.NUM_STACK_LAYERS = 8
# New. "dense": convolutions over the whole map; "fast": the same numbers from the valid cells alone, see
# mmn.modeling.fast; "auto": whichever is expected to be faster for the device, the mode and the shape.
_C.MODEL.MMN.PREDICTOR.IMPL = "auto"
CHOICES["MODEL.MMN.PREDICTOR.IMPL"] = ("auto", "dense", "fast")
# New. Memory in MB that the fast form may take in inference to keep weights transformed, or ready to be: less is slower
# with small batches. By default the released settings take at most 1.3 times the memory of the dense form. Results differ
# in last digits.
_C.MODEL.MMN.PREDICTOR.KEPT_MB = 350.0
# New. Dense form: keep only the inputs of the layers for the backward pass and compute the rest again, which takes less
# memory and more time.
_C.MODEL.MMN.PREDICTOR.CHECKPOINT_ACTIVATIONS = False
# New. Dense form: the memory layout that GPUs prefer for half precision.
_C.MODEL.MMN.PREDICTOR.CHANNELS_LAST = False

# New. Statistics that training normalises by: "process", of the process's own batch, as released; "sync", of the batches
# of all processes; "frozen", the running ones, which stay as INIT_WEIGHTS brought them; "batch", as "process", and in
# evaluation too, whose results then depend on TEST.BATCH_SIZE and on the number of processes.
_C.MODEL.MMN.PREDICTOR.BATCH_NORM = "process"
CHOICES["MODEL.MMN.PREDICTOR.BATCH_NORM"] = ("process", "sync", "frozen", "batch")

_C.MODEL.MMN.LOSS = CN()
_C.MODEL.MMN.LOSS.MIN_IOU = 0.3  # IoU that becomes target 0 of the IoU head
_C.MODEL.MMN.LOSS.MAX_IOU = 0.7  # IoU that becomes target 1
_C.MODEL.MMN.LOSS.BCE_WEIGHT = 1  # unused
_C.MODEL.MMN.LOSS.NUM_POSTIVE_VIDEO_PROPOSAL = 1  # K: positive moments per sentence (the released spelling)
_C.MODEL.MMN.LOSS.NEGATIVE_VIDEO_IOU = 0.5  # moments of the own video below this IoU are negatives
_C.MODEL.MMN.LOSS.SENT_REMOVAL_IOU = 0.5  # sentences of the own video whose moments overlap this much are no negatives
_C.MODEL.MMN.LOSS.PAIRWISE_SENT_WEIGHT = 0.0  # unused
_C.MODEL.MMN.LOSS.CONTRASTIVE_WEIGHT = 0.05
_C.MODEL.MMN.LOSS.TAU_VIDEO = 0.2  # temperature of video -> sentence
_C.MODEL.MMN.LOSS.TAU_SENT = 0.2  # temperature of sentence -> video
_C.MODEL.MMN.LOSS.MARGIN = 0.2  # taken off the cosine of a positive pair
# New. What a moment of the own video that is no negative adds to the sentence -> video denominator: "ones" exp(0) = 1,
# as the released weights were trained; "exclude" nothing.
_C.MODEL.MMN.LOSS.MASKED_NEGATIVES = "ones"
CHOICES["MODEL.MMN.LOSS.MASKED_NEGATIVES"] = ("ones", "exclude")
# New. Share negatives across processes, so that their number does not change the loss.
_C.MODEL.MMN.LOSS.GATHER_NEGATIVES = False
# New. Videos of past steps whose sentences and moments are negatives too, as the network embedded them then; 0: none.
# Per process, or over all of them with GATHER_NEGATIVES.
_C.MODEL.MMN.LOSS.MEMORY_BANK = 0
# New. Weight of each loss, 0: off. The two contrastive ones come on top of CONTRASTIVE_WEIGHT and its late-phase factor.
_C.MODEL.MMN.LOSS.VIDEO_TO_SENTENCE_WEIGHT = 1.0
_C.MODEL.MMN.LOSS.SENTENCE_TO_VIDEO_WEIGHT = 1.0
_C.MODEL.MMN.LOSS.IOU_WEIGHT = 1.0
# New. The kinds of negatives: sentences in video -> sentence, moments in sentence -> video. Without SAME_VIDEO_MOMENTS the
# masked cells of the own video add nothing either.
_C.MODEL.MMN.LOSS.NEGATIVES = CN()
_C.MODEL.MMN.LOSS.NEGATIVES.SAME_VIDEO_SENTENCES = True
_C.MODEL.MMN.LOSS.NEGATIVES.OTHER_VIDEO_SENTENCES = True
_C.MODEL.MMN.LOSS.NEGATIVES.SAME_VIDEO_MOMENTS = True
_C.MODEL.MMN.LOSS.NEGATIVES.OTHER_VIDEO_MOMENTS = True

# New, for STVG. Of which tube the sentence -> video denominator leaves out the cells that it has counted already:
# "released", the one whose index in the batch is that of the positive's tube within its video, mostly somebody else's, as
# the released weights were trained; "batch", the positive's own.
_C.MODEL.MMN.LOSS.TUBE_INDEX = "released"
CHOICES["MODEL.MMN.LOSS.TUBE_INDEX"] = ("released", "batch")

# New, for 2D-TAN (SPEC section 10), whose other keys are those of MODEL.MMN: NUM_CLIPS, FEATPOOL, FEAT2D, PREDICTOR and
# the IoU range of LOSS. JOINT_SPACE_SIZE, TEXT_ENCODER and all that is contrastive have no effect there.
_C.MODEL.TAN2D = CN()
# False, the third-party program: the map that the convolutions read is not zero outside the moments, so that they take
# the dense form, whatever PREDICTOR.IMPL says.
_C.MODEL.TAN2D.MASK_FUSION = True
_C.MODEL.TAN2D.TEXT = CN()
_C.MODEL.TAN2D.TEXT.GLOVE = ""  # path of glove.6B.300d.txt, or a file of its form
PATHS.add("MODEL.TAN2D.TEXT.GLOVE")
_C.MODEL.TAN2D.TEXT.EMBEDDING_SIZE = 300  # E: numbers of a word in it
_C.MODEL.TAN2D.TEXT.HIDDEN_SIZE = 512  # Q: width of the LSTM
_C.MODEL.TAN2D.TEXT.NUM_LAYERS = 3  # of the LSTM
_C.MODEL.TAN2D.TEXT.CUT_PERIOD = False  # cut one "." off the end of sentences, as the official Charades-STA text has it

# ---- Data ------------------------------------------------------------------------------------------------------------
_C.DATASETS = CN()
_C.DATASETS.NAME = ""  # title of the tables
_C.DATASETS.ROOT = "dataset"  # new: folder that the paths of the catalog are relative to
PATHS.add("DATASETS.ROOT")
_C.DATASETS.TRAIN = ()  # names of catalog entries
_C.DATASETS.VAL = ()  # new: split that picks the best checkpoint; () uses TEST, as released
_C.DATASETS.TEST = ()

_C.DATALOADER = CN()
_C.DATALOADER.NUM_WORKERS = 4  # per process
# New. Resampled features are kept in memory up to CACHE_GB, or read from the files that tools/cache_features.py has made
# in CACHE_DIR. As float16 they take half the room and are rounded to about 3 digits.
_C.DATALOADER.CACHE_DIR = ""
PATHS.add("DATALOADER.CACHE_DIR")
_C.DATALOADER.CACHE_DTYPE = "float32"
CHOICES["DATALOADER.CACHE_DTYPE"] = ("float32", "float16")
_C.DATALOADER.CACHE_GB = 8.0  # per split and process; workers share it

# ---- Training --------------------------------------------------------------------------------------------------------
_C.SOLVER = CN()
_C.SOLVER.LR = 0.01  # of everything but the text encoder
_C.SOLVER.BATCH_SIZE = 32  # videos, for 2D-TAN sentences, per step over all processes
_C.SOLVER.MILESTONES = (8, 11)  # epochs after which the learning rate drops
_C.SOLVER.MAX_EPOCH = 12  # 0 saves and tests the model untrained
_C.SOLVER.TEST_PERIOD = 1  # epochs between evaluations
# New. Steps between evaluations, counted through the whole training, each with a checkpoint of its own,
# `<feat2d name>_model_eval<n>.pth`; -1: those that an epoch's samples fill whole; 0: TEST_PERIOD epochs.
_C.SOLVER.TEST_ITERS = 0
_C.SOLVER.CHECKPOINT_PERIOD = 1  # epochs between checkpoints
_C.SOLVER.SKIP_TEST = 0  # no evaluation before this epoch
_C.SOLVER.FREEZE_BERT = 4  # the text encoder is not trained up to and including this epoch
_C.SOLVER.ONLY_IOU = 7  # the contrastive losses have full weight up to and including this epoch
# Continue from the last checkpoint of OUTPUT_DIR, or start afresh where there is none. With RESUME_EPOCH r > 1, go back
# to the end of epoch r - 1. The released files carry a leftover RESUME_EPOCH: it does not count where RESUME comes from
# the command line without it.
_C.SOLVER.RESUME = False
_C.SOLVER.RESUME_EPOCH = 1
# New from here on; the defaults are the numbers of the released program.
_C.SOLVER.SEED = 25285
# "adamw", or "adam" with PyTorch's own numbers: betas (0.9, 0.999), no weight decay.
_C.SOLVER.OPTIMIZER = "adamw"
CHOICES["SOLVER.OPTIMIZER"] = ("adamw", "adam")
_C.SOLVER.BETAS = (0.9, 0.99)  # of AdamW
_C.SOLVER.WEIGHT_DECAY = 1e-5  # of AdamW
_C.SOLVER.BERT_LR_FACTOR = 0.1  # learning rate of the text encoder relative to LR
_C.SOLVER.GAMMA = 0.1  # factor on the learning rate at a milestone
# Of the learning rate: "multistep"; "cosine", from LR to 0 over MAX_EPOCH, without MILESTONES; or, for 2D-TAN, "plateau",
# times PLATEAU_FACTOR after more than PLATEAU_PATIENCE evaluations on DATASETS.VAL in a row that do not raise minus its
# loss ("fixed"), or, as released by an error that its author knows of, its loss ("released").
_C.SOLVER.SCHEDULE = "multistep"
CHOICES["SOLVER.SCHEDULE"] = ("multistep", "cosine", "plateau")
_C.SOLVER.PLATEAU_FACTOR = 0.8
_C.SOLVER.PLATEAU_PATIENCE = 20
_C.SOLVER.PLATEAU_SIGN = "released"
CHOICES["SOLVER.PLATEAU_SIGN"] = ("released", "fixed")
_C.SOLVER.WARMUP_ITERS = 0  # first iterations, over which the learning rates rise linearly
_C.SOLVER.CLIP_GRAD_NORM = 5.0  # 0: off
# Decay per iteration of a running average of the weights, e.g. 0.999, which is then evaluated and saved; 0: off.
_C.SOLVER.EMA_DECAY = 0.0
_C.SOLVER.LATE_CONTRASTIVE_FACTOR = 0.01  # on CONTRASTIVE_WEIGHT after epoch ONLY_IOU
# "off": float32; "bf16": the network in bfloat16, losses and weights in float32; "fp16": the same in float16, with the
# loss scaled, and lowered where a gradient overflows: such a step is left out.
_C.SOLVER.AMP = "off"
CHOICES["SOLVER.AMP"] = ("off", "bf16", "fp16")
_C.SOLVER.TF32 = False  # on GPUs, float32 matrix products and convolutions with 10 bits of mantissa
_C.SOLVER.COMPILE = False  # torch.compile of the network, on a GPU
# Split each process's batch into this many parts, one after the other, and update once. Negatives and batch statistics
# then come from a part, so the loss is that of a smaller batch.
_C.SOLVER.ACCUMULATE = 1
_C.SOLVER.LOG_PERIOD = 20  # iterations between log lines
# "mlflow": rows of metrics.jsonl go to MLflow too, where MLFLOW_TRACKING_URI says (pip install .[mlflow]); "": nowhere.
_C.SOLVER.TRACKER = ""
CHOICES["SOLVER.TRACKER"] = ("", "mlflow")
_C.SOLVER.INIT_WEIGHTS = ""  # a checkpoint whose weights training starts from
PATHS.add("SOLVER.INIT_WEIGHTS")
# Iterations between checkpoints inside an epoch, `<feat2d name>_model_last.pth`; 0: only those of CHECKPOINT_PERIOD.
_C.SOLVER.CHECKPOINT_ITERS = 0
_C.SOLVER.CHECKPOINT_KEEP = (
    0  # epoch checkpoints that stay, the newest ones; 0: all. The best and the last always stay.
)
# A step whose loss or gradient is not finite is left out and counted, where it otherwise ends the run. Each step then
# waits for the device.
_C.SOLVER.SKIP_NONFINITE = False
_C.SOLVER.DETERMINISTIC = False  # on GPUs: only algorithms that give the same bits every time, some of them slower
_C.SOLVER.TIMEOUT_MINUTES = 30  # how long a process waits for the others before it takes them for hung

# ---- Inference -------------------------------------------------------------------------------------------------------
_C.TEST = CN()
_C.TEST.BATCH_SIZE = 64  # videos, for 2D-TAN sentences, per step over all processes
_C.TEST.NMS_THRESH = 0.5  # a moment is dropped where its IoU with a better one is above this
_C.TEST.SCORE = "product"  # new: what moments are ranked by, "product", "contrastive" or "iou" alone
CHOICES["TEST.SCORE"] = ("product", "contrastive", "iou")
# New. How the contrastive head's cosines become the contrastive score: "cosine", of the moment itself, as released; the
# others compare the clips inside a moment with those outside, see mmn.modeling.match_rules.
_C.TEST.CONTRASTIVE_RULE = "cosine"
CHOICES["TEST.CONTRASTIVE_RULE"] = ("cosine", "mean", "centred", "contrast", "scaled", "cusum", "local")
_C.TEST.CONTRASTIVE_SCORE_POW = 0.5  # exponent of the contrastive score in the product with the IoU score
_C.TEST.THRESHOLDS = ()  # new: IoU values of the recall table; (): those of the split's catalog entry
_C.TEST.NUM_PREDICTIONS = 10  # new: moments kept per sentence; at least 5, which R@5 needs

# ---- Paths -----------------------------------------------------------------------------------------------------------
_C.OUTPUT_DIR = "."
_C.PATHS_CATALOG = ""  # a yaml file with dataset entries of your own, or the name of one in configs/catalogs; "": none
PATHS.update(("OUTPUT_DIR", "PATHS_CATALOG"))
