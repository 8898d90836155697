"""Predict the rows of a file into another file, in constant memory, and resumable after a kill."""

from ftx.runtime.stream.columns import predicted_columns
from ftx.runtime.stream.job import Job
from ftx.runtime.stream.preflight import check_job
from ftx.runtime.stream.running import JobReport, Progress, do_job, predict_file

__all__ = ["Job", "JobReport", "Progress", "check_job", "do_job", "predict_file", "predicted_columns"]
