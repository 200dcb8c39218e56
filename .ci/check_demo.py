"""Fail when the demo's numbers or its report are not what the README promises. Run: python .ci/check_demo.py demo"""

import json
import re
import sys
from pathlib import Path

SECTIONS = ("methods", "tagged", "found", "labels", "curves", "rankings", "provenance")


def main() -> int:
    """Check `result.json` and `report.html` of a demo's folder."""
    folder = Path(sys.argv[1])
    methods = json.loads((folder / "result.json").read_text(encoding="utf-8"))["methods"]
    matrix, single = methods["SDL, M=7"]["zsl"], methods["single vector, M=1"]["zsl"]
    report = (folder / "report.html").read_text(encoding="utf-8")
    present = set(re.findall(r'<section[^>]*\bid="([\w-]+)"', report))
    complaints = [f"the report has no section `{name}`" for name in SECTIONS if name not in present]
    if matrix["mAP"] < 2 * matrix["chance_mAP"]:
        complaints.append(f"ZSL mAP {matrix['mAP']:.1f} is below twice chance ({matrix['chance_mAP']:.1f})")
    if matrix["mAP"] < single["mAP"]:
        complaints.append(f"ZSL mAP {matrix['mAP']:.1f} at M=7 is below {single['mAP']:.1f} at M=1")
    for complaint in complaints:
        print(f"demo: {complaint}", file=sys.stderr)
    print(f"demo: ZSL mAP {matrix['mAP']:.1f} (M=1 {single['mAP']:.1f}, chance {matrix['chance_mAP']:.1f})")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
