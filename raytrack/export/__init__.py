"""What a tracked sequence is written as: pictures, a preview video, scores, and a dataset."""
