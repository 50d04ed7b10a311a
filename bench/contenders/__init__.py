"""Who is measured: one small class a contender."""
