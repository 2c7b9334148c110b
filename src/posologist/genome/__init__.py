"""From a VCF to phenotypes."""
