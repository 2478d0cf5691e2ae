"""Probes of what a benchmark gives away without looking: priors of its moments, and sentences that come twice."""
