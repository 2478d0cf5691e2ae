"""The feature tracks of a split, joined: their rows side by side, each track resampled as if it were alone."""

from collections.abc import Iterable, Sequence

import numpy as np
from yacs.config import CfgNode

from mmn.config.catalog_entries import CatalogEntry, Track, TubeEntry, track_names
from mmn.config.validate import input_sizes
from mmn.data.cache import ClipFile
from mmn.data.feature_folder import FeatureFolder
from mmn.data.features import FeatureFile, FeatureReader, RowsInParts, resample_clips
from mmn.structures.recipe import TrackRecipe, TracksRecipe
from mmn.structures.rows_id import VID, RowsId
from mmn.structures.selection import parse_selection
from mmn.utils.errors import ConfigError, DataError

# By which the tracks of one video may differ in their number of rows.
SPARE_ROWS, SPARE_SHARE = 5, 0.2


class FeatureTracks:
    """Feature tracks of a split's videos, joined along D in their order.

    Args:
        readers: the source of each track's rows.
        names: the name of each track in recipes; None where it has none.
    """

    def __init__(self, readers: Sequence[FeatureReader], names: Sequence[str | None] | None = None):
        self.readers = list(readers)
        self.names = list(names or [None] * len(self.readers))

    @property
    def widths(self) -> list[int]:
        """D of each track."""
        return [reader.input_size for reader in self.readers]

    @property
    def input_size(self) -> int:
        """D, the sum over the tracks."""
        return sum(self.widths)

    @property
    def paths(self) -> list[str]:
        """The files and folders that the tracks are in."""
        return [reader.path for reader in self.readers]

    def open(self) -> None:
        """Make ready to read. Raises DataError where a file or folder is missing or damaged."""
        for reader in self.readers:
            reader.open()

    def check(self, rows_ids: Iterable[RowsId]) -> None:
        """Raise DataError unless every track has every video, the first one of the right width."""
        rows_ids = list(rows_ids)
        for reader in self.readers:
            reader.check(rows_ids)

    def close(self) -> None:
        """Let go of open files."""
        for reader in self.readers:
            reader.close()

    def be_impatient(self) -> None:
        """Try no read again, where all of a damaged file's videos are going to be read."""
        for reader in self.readers:
            reader.waits = ()

    def read(self, rows_id: RowsId, num_rows: int | None = None) -> np.ndarray:
        """The rows of a video, [T0, D] float32, cut to the track that has the fewest.

        Args:
            num_rows: T0, where it is known: then no track may have more or fewer.
        Raises DataError where they cannot be read, or are others than these.
        """
        parts = [reader.read(rows_id) for reader in self.readers]
        if num_rows is not None:
            self._check_lengths(rows_id, parts, num_rows)
        shortest = self._num_joined(rows_id, [len(part) for part in parts])
        return _joined([part[:shortest] for part in parts])

    def in_parts(self, rows_id: RowsId) -> RowsInParts:
        """The rows that `read` gives, see `FeatureReader.in_parts`. Raises DataError as `read` does."""
        parts = [reader.in_parts(rows_id) for reader in self.readers]
        shortest = self._num_joined(rows_id, [part.num_rows for part in parts])

        def read(rows: slice) -> np.ndarray:
            return _joined([part.read(slice(*rows.indices(shortest))) for part in parts])

        return RowsInParts(shortest, read)

    def _num_joined(self, rows_id: RowsId, counts: Sequence[int]) -> int:
        """The rows of a video that all tracks have, which have so many. Raises DataError where these are too different."""
        shortest, longest = min(counts), max(counts)
        if longest - shortest > max(SPARE_ROWS, SPARE_SHARE * longest):
            each = " and ".join(f"{count} in {reader.path}" for count, reader in zip(counts, self.readers, strict=True))
            raise DataError(
                f"the feature tracks of video {rows_id} have {each} rows: they are not of one sampling, so take tracks "
                "that belong together"
            )
        return shortest

    def _check_lengths(self, rows_id: RowsId, parts: Sequence[np.ndarray], num_rows: int) -> None:
        for reader, part in zip(self.readers, parts, strict=True):
            if len(part) != num_rows:
                raise DataError(
                    f"{reader.where(rows_id)} has {len(part)} rows, but its tubes have {num_rows} boxes: convert both "
                    "again, from files that belong together"
                )

    def resample(self, rows: np.ndarray, num_clips: int, uses_last_row: bool = False) -> np.ndarray:
        """Joined rows [T0, D] -> clips [P, D], each track normalised by itself; see `resample_clips`."""
        return resample_clips(rows, num_clips, uses_last_row, self.widths)

    def clips(self, rows_id: RowsId, num_clips: int) -> np.ndarray:
        """The resampled rows of a video, [P, D] float32. Raises DataError as `read` does."""
        return self.resample(self.read(rows_id), num_clips)

    def recipe(self, with_files: bool = True) -> TracksRecipe | None:
        """Names and widths of the tracks, and how they were made; None for one track of which only the width is known.

        Args:
            with_files: whether to ask the files how they were made; DataError where one cannot be read.
        """
        tracks = [
            TrackRecipe(name, reader.input_size, reader.recipe() if with_files else None)
            for name, reader in zip(self.names, self.readers, strict=True)
        ]
        return TracksRecipe(tuple(tracks)).if_known()


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The rows of all tracks side by side, [T0, D]."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def build_tracks(cfg: CfgNode, entry: CatalogEntry | TubeEntry) -> FeatureTracks:
    """The tracks of a catalog entry, unopened. Raises ConfigError unless MODEL.MMN.FEATPOOL.INPUT_SIZE fits them."""
    suffix = entry.vid_suffix if isinstance(entry, CatalogEntry) else ""
    widths = track_widths(cfg, entry.tracks)
    readers = [build_reader(track, width, suffix) for track, width in zip(entry.tracks, widths, strict=True)]
    return FeatureTracks(readers, track_names(entry.tracks))


def split_recipe(cfg: CfgNode, name: str, tracks: FeatureTracks, sources: Sequence[str]) -> TracksRecipe | None:
    """Recipe of a split's features, as the entry and the files, or the clip cache that stands for these, say.

    Args:
        sources: the files that a clip cache is made from.
    Raises DataError where a file cannot be read, or the cache is of other tracks than the entry's.
    """
    if not cfg.DATALOADER.CACHE_DIR:
        return tracks.recipe()
    cache = ClipFile(cfg.DATALOADER.CACHE_DIR, name, sources)
    cached, stated = cache.recipe(), tracks.recipe(with_files=False)
    if cached is not None and stated is not None and (difference := cached.differences(stated)):
        raise DataError(
            f"the clip cache {cache.array_path} is of {cached}, but the entry of {name} in the catalog has {stated}, which "
            f"differs in {difference}: make it again by `mmn cache-features`, or correct the entry"
        )
    return cached or stated


def build_reader(track: Track, width: int, vid_suffix: str = "") -> FeatureReader:
    """The reader of one track of rows [T0, width]."""
    selection = parse_selection(track.selection)
    key = track.key.replace(VID, VID + vid_suffix)
    if track.format == "hdf5":
        return FeatureFile(track.path, key, width, selection=selection)
    file = track.file.replace(VID, VID + vid_suffix)
    return FeatureFolder(track.path, file, track.format, key, width, selection=selection)


def track_widths(cfg: CfgNode, tracks: Sequence[Track]) -> list[int]:
    """The width of each track: what its entry states, and MODEL.MMN.FEATPOOL.INPUT_SIZE must agree.

    INPUT_SIZE is the width of each, or, where the entry states them all, their sum. Raises ConfigError otherwise.
    """
    sizes, stated = input_sizes(cfg), [track.width for track in tracks]
    if len(sizes) == 1 and len(tracks) > 1 and None not in stated and sum(stated) == sizes[0]:
        return stated
    if len(sizes) != len(tracks) or any(width not in (None, size) for width, size in zip(stated, sizes, strict=True)):
        listed = ", ".join(track.path + (f" of {track.width}" if track.width else "") for track in tracks)
        count = f"{len(tracks)} feature track{'s' if len(tracks) > 1 else ''} ({listed})"
        raise ConfigError(
            f"MODEL.MMN.FEATPOOL.INPUT_SIZE is {cfg.MODEL.MMN.FEATPOOL.INPUT_SIZE}, but the split has {count}: give the "
            "width of each, in this order"
        )
    return sizes
