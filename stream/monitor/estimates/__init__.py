"""Performance that is not waited for: what scores and earlier losses say before labels come."""
