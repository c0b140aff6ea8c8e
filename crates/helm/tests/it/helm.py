"""Renders each template, or each case of a chart, that standard input lists with Helm itself; null where it fails."""

import json
import os
import sys
import tempfile

import helm_python


def main():
    given = json.load(sys.stdin)
    results = []
    with tempfile.TemporaryDirectory() as top:
        chart = os.path.join(top, "c")
        for name, text in given["files"].items():
            path = os.path.join(chart, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        for case in given.get("cases", []):
            try:
                results.append(helm_python.Chart.load(chart).render(case["values"], name=case["name"]))
            except helm_python.HelmError as error:
                print(error, file=sys.stderr)
                results.append(None)
        template = os.path.join(chart, "templates", "t.yaml")
        os.makedirs(os.path.dirname(template), exist_ok=True)
        for text in given.get("templates", []):
            with open(template, "w", encoding="utf-8") as file:
                file.write(text)
            try:
                results.append(helm_python.Chart.load(chart).render()["c/templates/t.yaml"])
            except helm_python.HelmError:
                results.append(None)
    json.dump(results, sys.stdout)


main()
