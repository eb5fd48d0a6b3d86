"""Offline evaluation: metrics, slices, failure-mode sets, template tests and their report.

No torch: models run through ONNX Runtime. Everything counts into two histograms per slice and site
(`counts.Counts`), so that any two evaluations of the same sets can be compared pixel for pixel.
"""
