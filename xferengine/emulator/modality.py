"""Which XNAT types stand for which DICOM modalities."""

from collections.abc import Collection

_CODES = {
    "MR": "mr", "CT": "ct", "PT": "pet", "CR": "cr", "DX": "dx", "DR": "dx3DCraniofacial", "US": "us", "XA": "xa",
    "NM": "nm", "MG": "mg", "RF": "rf", "ES": "es", "OP": "op", "SM": "sm", "XC": "xc", "IO": "io", "GM": "gm",
    "ECG": "ecg", "EPS": "eps", "HD": "hd", "SR": "sr", "RTIMAGE": "rtImage", "EEG": "eeg",
}  # fmt: skip
_SCAN_ONLY = {"SC": "scScanData", "OT": "otherDicomScanData", "SEG": "segScanData"}
_SESSION_ORDER = ("PT", "MR", "CT", "US", "CR", "DX", "MG", "NM", "XA", "RF")  # the first present names a session


def scan_xsi_type(modality: str) -> str:
    """Return the scan type of a modality, e.g. xnat:mrScanData."""
    if modality in _CODES:
        return f"xnat:{_CODES[modality]}ScanData"
    return f"xnat:{_SCAN_ONLY.get(modality, 'otherDicomScanData')}"


def leading_modality(modalities: Collection[str]) -> str:
    """Return the modality that names a session of mixed content."""
    for modality in _SESSION_ORDER:
        if modality in modalities:
            return modality
    return min(modalities, default="")


def session_xsi_type(modality: str) -> str:
    """Return the session type of a leading modality, e.g. xnat:ctSessionData."""
    return f"xnat:{_CODES[modality]}SessionData" if modality in _CODES else "xnat:otherDicomSessionData"


def root_element(xsi_type: str) -> str:
    """Return the XML root element of a session type: xnat:mrSessionData is written as xnat:MRSession."""
    name = xsi_type.removeprefix("xnat:").removesuffix("SessionData")
    return f"xnat:{name.upper() if len(name) <= 4 else name[0].upper() + name[1:]}Session"
