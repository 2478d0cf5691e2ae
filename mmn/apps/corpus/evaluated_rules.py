"""The rules that are compared on a corpus. Nothing here takes time to import."""

from mmn.apps.search.ranking_rules import RULES, RankingRule

# An index takes the product for the nearest moments alone; here it is known for all.
PRODUCT_OF_ALL = RankingRule("product of all", "contrastive", 0, "product")
EVALUATED = {**RULES, PRODUCT_OF_ALL.name: PRODUCT_OF_ALL}
