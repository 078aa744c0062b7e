"""Is the policy better? Violation, answered and refusal rates with intervals. Does not know how pairs were made."""
