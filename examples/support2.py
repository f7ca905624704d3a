"""SUPPORT2 from its CSV: which group of tests would change what is expected of a patient.

    python examples/support2.py ../shared/data/support2/support2.csv

Prints scores, what each block of columns is worth and the patients to test first; writes a report and the
model into ``out/support2``. The file is described in `primo_pyro.data.support2`.
"""

import argparse

from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import train_test_split

from primo_pyro import PrimoClassifier, read_table

BLOCKS = {
    "history": ["age", "num.co", "diabetes", "dementia", "sex", "race", "dzgroup", "ca"],
    "background": ["edu", "income"],
    "physiology": ["meanbp", "hrt", "resp", "temp", "scoma", "wblc", "crea", "sod"],
    "blood_gas": ["pafi", "ph"],
    "liver": ["alb", "bili"],
    "metabolic": ["glucose", "bun"],
    "urine": "urine",
    "patient_function": "adlp",
    "surrogate_function": "adls",
}

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("path", help="support2.csv")
parser.add_argument("--out", default="out/support2")
parser.add_argument("--rows", type=int, default=10_000, help="use only the first ones")
parser.add_argument("--epochs", type=int, default=60)
options = parser.parse_args()

patients = read_table(options.path, id="sno").head(options.rows)
train, rest = train_test_split(patients, test_size=0.4, stratify=patients["hospdead"], random_state=0)
held_out, test = train_test_split(rest, test_size=0.5, stratify=rest["hospdead"], random_state=0)

clf = PrimoClassifier(blocks=BLOCKS, max_epochs=options.epochs, random_state=0).fit(train, "hospdead")
print(clf.reader_.check().query("about != 'pattern'").drop(columns="about").to_string(index=False))
p = clf.predict_proba(test)[:, 1]
print(f"\nlog loss {log_loss(test.hospdead, p):.3f}, AUROC {roc_auc_score(test.hospdead, p):.3f}")

clf.calibrate_impact(held_out)
each = clf.predictive_impact(test, "each").query("impact > 0")
print("\nWhat each block would change where it is absent:")
print(each.groupby("modality")[["impact", "expected_change", "information_gain"]].mean().round(3))
print("\nTests to do first, by expected change for their cost:")
costs = dict.fromkeys(clf.optional_, 1.0) | {"blood_gas": 3.0}
print(clf.rank_acquisitions(test, costs).head(10).round(3).to_string(index=False))

x = clf.read(test)
known = x.index[x.present["blood_gas"]]
print(f"\n{clf.report(test.loc[known], 'hospdead', options.out + '/report', 'blood_gas')}")
clf.save(f"{options.out}/model")
