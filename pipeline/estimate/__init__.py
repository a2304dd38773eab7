"""What an extraction would cost: headers, a sample that is really extracted, and the projection to all."""
