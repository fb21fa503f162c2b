"""The service mesh: interception, and the lab that proves it."""
