"""Planned compression compared with other methods, without retraining, on networks of several kinds (PyTorch needed).

Each part of the experiment on each network leaves result files of its own:

* `curves`: bytes of plans, of a scan of each layer and of one density and width, at the same measured loss.
* `coverage`: plans on pools drawn at random, and their loss on inputs that they have not seen.
* `search`: a plan beside a black-box search over the same choices.
* `predictions`: random plans, predicted and measured.
* `budgets`: plans for other budgets from the same analysis.
* `committee`: plans on few inputs, chosen by a committee, by strata or at random.
* `structured`: plans that may remove neurons, channels and heads, beside plans that keep them.
* `compaction`: networks pruned by magnitude, before and after `CompressedModel.compacted`.
* `speed`, `large`: time and memory of planning.
"""
