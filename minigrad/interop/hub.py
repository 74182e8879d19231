"""Checkpoints of the Hugging Face hub, through huggingface_hub (extra `hub`), its cache and its environment variables.

HF_HOME and HF_HUB_CACHE say where the cache is, HF_HUB_OFFLINE=1 that nothing is downloaded, HF_TOKEN who one is; they are
huggingface_hub's to read.
"""

import os
import re
from pathlib import Path

from minigrad import checks
from minigrad.interop.reading import CONFIG, PREPROCESSOR, WEIGHTS, shards

VARIANTS = ("b0", "b1", "b2", "b2_li", "b3", "b4", "b5")
PRETRAINED = {
    **{f"pvt_v2_{v}": f"OpenGVLab/pvt_v2_{v.replace('_li', '_linear')}" for v in VARIANTS},
    **{f"pvt_v2_{v}.in1k": f"timm/pvt_v2_{v}.in1k" for v in VARIANTS},
}
"""Names with published ImageNet-1k weights and their hub ids. `NAME` is Hugging Face's conversion (ε = 1e-6 everywhere,
images squashed to 224), `NAME.in1k` timm's (the original's two ε, 90 % centre crop)."""


class HubError(OSError):
    """A checkpoint that can't be had from the hub: no network, no such repository, or no weights in it."""


def hub_id(source: str | os.PathLike) -> str | None:
    """`source` as a hub id (`organisation/name`, also with `hf-hub:` before it; or a name in `PRETRAINED`), or None when it
    can't be one, or is a file or folder here."""
    if not isinstance(source, str) or os.path.exists(source):
        return None
    source = PRETRAINED.get(source, source).removeprefix("hf-hub:").removeprefix("hf_hub:")
    return source if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", source) else None


def locate(source: str | os.PathLike, **of_the_hub) -> Path:
    """The local file or folder of a source, downloaded if it is a name on the hub.

    Raises:
        FileNotFoundError: when there is nothing. HubError: when the hub can't be reached or lacks it.
    """
    repo = hub_id(checks.path("from_pretrained", "source", source))
    if repo is not None:
        return fetch(repo, **of_the_hub)
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}, and it is no name of the Hugging Face hub either")
    return path


def fetch(
    repo: str,
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike | None = None,
    local_files_only: bool = False,
) -> Path:
    """The folder with a repository's weights, `config.json` and `preprocessor_config.json`, downloaded or from the cache.

    Raises:
        HubError: saying what to do, when huggingface_hub isn't installed, when offline without a copy in the cache, when
            there is no such repository, or when it holds no weights.
    """
    try:
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise HubError(
            f"there is no file or folder {repo}, and to load it from the Hugging Face hub takes huggingface_hub: "
            "pip install 'minigrad[hub]'"
        ) from None

    def get(name: str) -> Path | None:
        """One file, or None when the repository has no such file (or, offline, the cache)."""
        try:
            local = local_files_only or bool(offline)  # once without a network, always
            found = huggingface_hub.hf_hub_download(
                repo, name, revision=revision, cache_dir=cache_dir, local_files_only=local
            )
            return Path(found)
        except LocalEntryNotFoundError as error:
            offline.append(error)
            return None
        except EntryNotFoundError:
            return None

    offline: list[Exception] = []
    try:
        for name in WEIGHTS:
            weights = get(name)
            if weights is None:
                continue
            for extra in (CONFIG, PREPROCESSOR):
                get(extra)
            for shard in shards(weights) if name.endswith(".json") else ():
                if get(shard) is None:
                    raise HubError(
                        f"{repo}: {name} lists {shard}, which can't be had; connect to the network and try again"
                    )
            return weights.parent
    except HFValidationError as error:
        raise HubError(f"{repo} is no file or folder here, and no name of the Hugging Face hub: {error}") from None
    except OSError as error:
        if isinstance(error, HubError):
            raise
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise HubError(
            f"{repo} is no file or folder here and can't be loaded from the Hugging Face hub ({reason}); check the name, "
            "or a token (HF_TOKEN) if it is private"
        ) from None
    if offline:
        raise HubError(
            f"{repo} is no file or folder here, not in the cache of the Hugging Face hub, and can't be downloaded without a "
            "network (or with HF_HUB_OFFLINE=1, or local_files_only); connect and try again, or download its config.json and "
            "model.safetensors elsewhere and give their folder"
        )
    raise HubError(f"{repo} holds no weights on the Hugging Face hub: it has none of {', '.join(WEIGHTS)}")
